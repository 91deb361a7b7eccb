//! What the pass wants to know of a function.

use std::collections::BTreeSet;

use crossloom_ir::func::ValueDef;
use crossloom_ir::{Func, InstData, Op, Value};

use crate::plan::view_offset;

/// The forward and the backward pass of a function, and which values go from one to the other.
pub(super) struct Site<'f> {
    pub(super) func: &'f Func,
    /// How many instructions the forward pass has: all up to that which makes the loss.
    pub(super) forward: usize,
    /// For every value, the one whose memory it is a view of: most are their own.
    pub(super) root: Vec<Value>,
    /// For every root, the last instruction of the forward pass that makes it or reads what lives in its memory.
    pub(super) last: Vec<usize>,
    /// For every root, whether it is made by the forward pass and memory is held for it because the backward pass reads it.
    pub(super) held: Vec<bool>,
    /// For every root, whether computing it again frees nothing: parameters and results.
    fixed: Vec<bool>,
}

/// Values that are computed again together, where the backward pass first reads any of them.
pub(super) struct Choice {
    /// Roots.
    pub(super) values: Vec<Value>,
    /// Bytes that the backward pass no longer holds, less those that are held for this.
    pub(super) bytes: u64,
    /// Operations that it takes.
    pub(super) flops: u64,
    /// The first instruction that is repeated.
    pub(super) at: usize,
}

/// Most instructions that are repeated for one cheap value.
const CHAIN: usize = 8;
/// Most sizes of segments that are tried: each is half of the one before.
const SIZES: u32 = 10;

impl<'f> Site<'f> {
    /// `None` for a function without a loss.
    pub(super) fn of(func: &'f Func) -> Option<Self> {
        let (loss, _) = func.def_inst(func.result("loss")?)?;
        let forward = loss.index() + 1;
        let count = func.value_count();
        let mut root: Vec<Value> = (0..count).map(|i| Value(i as u32)).collect();
        for inst in func.insts() {
            if view_offset(func, &inst.op, &inst.inputs).is_some() {
                root[inst.outputs[0].index()] = root[inst.inputs[0].index()];
            }
        }
        let mut fixed = vec![false; count];
        for value in
            func.params().iter().map(|param| param.value).chain(func.results().iter().map(|r| r.value))
        {
            fixed[root[value.index()].index()] = true;
        }
        let (mut last, mut held) = (vec![0; count], vec![false; count]);
        for (index, inst) in func.insts().iter().enumerate() {
            let renames = view_offset(func, &inst.op, &inst.inputs).is_some();
            for value in inst.inputs.iter().chain(&inst.outputs) {
                let root = root[value.index()].index();
                if index < forward {
                    last[root] = index;
                } else if !renames {
                    let made = func.def_inst(Value(root as u32));
                    held[root] |= !fixed[root] && made.is_some_and(|(at, _)| at.index() < forward);
                }
            }
        }
        Some(Self { func, forward, root, last, held, fixed })
    }

    pub(super) fn bytes(&self, value: Value) -> u64 {
        self.func.ty(value).bytes() as u64
    }

    fn flops(&self, inst: &InstData) -> u64 {
        let types = |values: &[Value]| values.iter().map(|&v| self.func.ty(v)).collect::<Vec<_>>();
        inst.op.cost(&types(&inst.inputs), &types(&inst.outputs)).flops
    }

    /// The instruction of the forward pass that makes a root.
    pub(super) fn maker(&self, root: Value) -> Option<(usize, &'f InstData)> {
        match self.func.def(root) {
            ValueDef::Output(at, _) if at.index() < self.forward => Some((at.index(), self.func.inst(at))),
            _ => None,
        }
    }

    /// Roots that an instruction reads and that are neither parameters nor results.
    fn reads(&self, inst: &'f InstData) -> impl Iterator<Item = Value> + '_ {
        inst.inputs.iter().map(|v| self.root[v.index()]).filter(|root| !self.fixed[root.index()])
    }

    /// All roots that are held, by the instructions that make them.
    pub(super) fn held(&self) -> impl Iterator<Item = (usize, Value)> + '_ {
        let made = |(index, inst): (usize, &'f InstData)| inst.outputs.iter().map(move |&v| (index, v));
        let insts = self.func.insts()[..self.forward].iter().enumerate().flat_map(made);
        insts.filter(|(_, value)| self.held[value.index()])
    }

    /// Values that cheap ops make, each with what it takes besides.
    pub(super) fn cheap(&self) -> Vec<Choice> {
        self.held().filter_map(|(at, value)| self.chain(at, value)).collect()
    }

    /// A cheap value from what is held anyway, by cheap ops alone.
    fn chain(&self, at: usize, value: Value) -> Option<Choice> {
        let mut insts = BTreeSet::from([at]);
        let mut values = vec![value];
        let mut open = vec![at];
        while let Some(next) = open.pop() {
            let inst = &self.func.insts()[next];
            if !is_cheap(&inst.op) || insts.len() > CHAIN {
                return None;
            }
            for read in self.reads(inst).filter(|read| !self.held[read.index()]) {
                let (maker, _) = self.maker(read)?;
                values.push(read);
                if insts.insert(maker) {
                    open.push(maker);
                }
            }
        }
        Some(self.choice(values, &insts, 0))
    }

    fn choice(&self, values: Vec<Value>, insts: &BTreeSet<usize>, held_besides: u64) -> Choice {
        let freed: u64 = values.iter().filter(|v| self.held[v.index()]).map(|&v| self.bytes(v)).sum();
        Choice {
            values,
            bytes: freed.saturating_sub(held_besides),
            flops: insts.iter().map(|&at| self.flops(&self.func.insts()[at])).sum(),
            at: insts.first().copied().unwrap_or_default(),
        }
    }

    /// How many bytes of what is held a segment has at the most, from half of all downwards.
    pub(super) fn segment_sizes(&self) -> impl Iterator<Item = u64> {
        let all: u64 = self.held().map(|(_, value)| self.bytes(value)).sum();
        (1..=SIZES).map(move |half| all >> half).filter(|&bytes| bytes > 0)
    }

    /// For every segment that ends before one of the cuts, what is computed again besides `cheap` so that of all that is inside
    /// it nothing is held.
    pub(super) fn segments(&self, cuts: &[usize], cheap: &[Choice]) -> Vec<Choice> {
        let known = self.union(cheap);
        let mut start = 0;
        let mut segments = Vec::with_capacity(cuts.len());
        for &end in cuts {
            segments.extend(self.segment(start, end, &known));
            start = end;
        }
        segments
    }

    fn segment(&self, start: usize, end: usize, known: &[bool]) -> Option<Choice> {
        let inside = |root: Value| {
            self.maker(root).is_some_and(|(at, _)| at >= start) && self.last[root.index()] < end
        };
        let mut again: BTreeSet<Value> = BTreeSet::new();
        let mut open: Vec<Value> =
            (self.func.insts()[start..end].iter().flat_map(|inst| &inst.outputs).copied())
                .filter(|v| self.held[v.index()] && inside(*v))
                .collect();
        let mut insts = BTreeSet::new();
        let mut besides: BTreeSet<Value> = BTreeSet::new();
        while let Some(value) = open.pop() {
            if !again.insert(value) {
                continue;
            }
            let Some((at, inst)) = self.maker(value) else { continue };
            if !known[value.index()] {
                insts.insert(at);
            }
            for read in self.reads(inst) {
                if inside(read) {
                    open.push(read);
                } else if !self.held[read.index()] {
                    besides.insert(read);
                }
            }
        }
        let besides: u64 = besides.into_iter().map(|value| self.bytes(value)).sum();
        let values = again.into_iter().filter(|value| !known[value.index()]).collect();
        Some(self.choice(values, &insts, besides)).filter(|choice| choice.bytes > 0)
    }

    /// For every root, whether one of the choices computes it again.
    pub(super) fn union<'c>(&self, choices: impl IntoIterator<Item = &'c Choice>) -> Vec<bool> {
        let mut again = vec![false; self.func.value_count()];
        for value in choices.into_iter().flat_map(|choice| &choice.values) {
            again[value.index()] = true;
        }
        again
    }
}

/// Whether an op takes a few operations per element that it reads or writes.
fn is_cheap(op: &Op) -> bool {
    match op {
        Op::Unary(_)
        | Op::Binary(_)
        | Op::Affine(_)
        | Op::Convert(_)
        | Op::ToFloat(_)
        | Op::FusedElementwise(_)
        | Op::LayerNorm(_)
        | Op::RmsNorm(_)
        | Op::AddLayerNorm(_)
        | Op::AddRmsNorm(_)
        | Op::Rope(_)
        | Op::AgfInject(_)
        | Op::AgfInjectNorm(_)
        | Op::Constant(_)
        | Op::Iota(_) => true,
        op => op.moves(),
    }
}
