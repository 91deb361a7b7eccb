//! What the pass wants to know of a function.

use crossloom_ir::op::{Load, Op};
use crossloom_ir::{Func, InstData, Value};

/// A function and who reads its values.
pub(super) struct Site<'f> {
    pub(super) func: &'f Func,
    /// For every value, the instructions that read it, in order; results count as `usize::MAX`.
    pub(super) users: Vec<Vec<usize>>,
    /// Which instructions make a constant that only element-wise instructions read.
    numbers: Vec<bool>,
}

/// What a load of a fused op reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Source {
    Value(Value),
    /// The bits of a constant, of which one element is enough: zero is not minus zero, and NaN is itself.
    Number(u64),
}

/// An operand of a fused op.
pub(super) type Operand = (Source, Load);

impl<'f> Site<'f> {
    pub(super) fn new(func: &'f Func) -> Self {
        let mut users = vec![Vec::new(); func.value_count()];
        for (index, inst) in func.insts().iter().enumerate() {
            for input in &inst.inputs {
                users[input.index()].push(index);
            }
        }
        for result in func.results() {
            users[result.value.index()].push(usize::MAX);
        }
        let by_elementwise = |v: Value| {
            users[v.index()].iter().all(|&user| func.insts().get(user).is_some_and(|i| fits(&i.op)))
        };
        let is_number =
            |inst: &InstData| matches!(inst.op, Op::Constant(_)) && by_elementwise(inst.outputs[0]);
        let numbers = func.insts().iter().map(is_number).collect();
        Self { func, users, numbers }
    }

    /// Whether an instruction can be part of a region.
    pub(super) fn is_elementwise(&self, inst: usize) -> bool {
        fits(&self.func.insts()[inst].op)
    }

    /// Shape of an element-wise instruction.
    pub(super) fn shape(&self, inst: usize) -> &'f [usize] {
        self.func.shape(self.func.insts()[inst].outputs[0])
    }

    /// Whether an instruction makes a constant that regions read as a number and nothing reads in full.
    pub(super) fn is_number(&self, inst: usize) -> bool {
        self.numbers[inst]
    }

    /// How a region of `shape` reads `value`: through the broadcast or constant that makes it, or in full.
    pub(super) fn load(&self, value: Value, shape: &[usize]) -> Operand {
        let full = (Source::Value(value), Load::Full);
        let Some((at, inst)) = self.func.def_inst(value) else { return full };
        match &inst.op {
            Op::Constant(c) if self.is_number(at.index()) => {
                (Source::Number(self.func.dtype(value).round(c.value).to_bits()), Load::Scalar)
            }
            Op::Broadcast(op) => {
                let (rank, source) = (shape.len(), inst.inputs[0]);
                let modes = [Load::Scalar, Load::Row, Load::Column];
                let mode = modes.into_iter().find(|mode| op.axes.len() < rank && op.axes == mode.axes(rank));
                mode.map_or(full, |mode| (Source::Value(source), mode))
            }
            _ => full,
        }
    }

    /// The distinct operands that instructions of one region read from outside it.
    pub(super) fn loads(&self, members: &[usize]) -> Vec<Operand> {
        let mut found: Vec<Operand> = Vec::new();
        for &member in members {
            let shape = self.shape(member);
            for &input in &self.func.insts()[member].inputs {
                let inside = self.func.def_inst(input).is_some_and(|(at, _)| members.contains(&at.index()));
                let load = self.load(input, shape);
                if !inside && !found.contains(&load) {
                    found.push(load);
                }
            }
        }
        found
    }

    /// The values of a region that something outside reads, and those that nothing reads: roots of dead trees.
    pub(super) fn stores(&self, members: &[usize]) -> Vec<Value> {
        let read_outside = |v: &Value| {
            let users = &self.users[v.index()];
            users.is_empty() || users.iter().any(|user| !members.contains(user))
        };
        members.iter().map(|&member| self.func.insts()[member].outputs[0]).filter(read_outside).collect()
    }
}

/// Whether an op can be part of a region.
fn fits(op: &Op) -> bool {
    matches!(op, Op::Unary(_) | Op::Binary(_) | Op::Affine(_) | Op::Convert(_))
}
