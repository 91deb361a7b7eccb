//! AGF fusion: every tap is read once for the gates of all points.
//!
//! Before: `agf_gate` instructions as the graph builder emits them. After: none; the key projection is absorbed into the
//! queries (so that nothing of size tokens × width² is computed), and the attention pools of the visual side, which do
//! not depend on the hidden state, are merged: all unmasked pools of one scale over the same features whose queries
//! depend on no other such pool become one, with the queries of all points side by side, placed where the first of them
//! stood. Run before differentiation.

use std::collections::BTreeMap;

use crossloom_ir::expand::expand_where;
use crossloom_ir::op::{AttnPool, Op};
use crossloom_ir::rewrite::Rewriter;
use crossloom_ir::{DType, Func, Inst, IrError, IrErrors, Value};

use super::Pass;
use crate::Context;

/// See the module comment.
#[derive(Debug)]
pub(super) struct AgfFusion;

impl Pass for AgfFusion {
    fn name(&self) -> &'static str {
        "agf_fusion"
    }

    fn run(&self, func: &Func, cx: &Context<'_>) -> Result<Func, IrErrors> {
        let expanded = expand_where(func, |op| matches!(op, Op::AgfGate(_)))?;
        // Points that share a gate have the same pool, and reshapes of the same features must be one value.
        let expanded = super::cse::Cse.run(&expanded, cx)?;
        let groups = pool_groups(&expanded);
        if groups.iter().all(|group| group.len() < 2) {
            return Ok(expanded);
        }
        Ok(merge_pools(&expanded, &groups)?)
    }
}

/// Pools that can be merged, in program order.
fn pool_groups(func: &Func) -> Vec<Vec<Inst>> {
    // By features, the bits of the scale and the types of query and results; in order of the first pool.
    let mut group_of: BTreeMap<(Value, u64, DType, Vec<DType>), usize> = BTreeMap::new();
    let mut groups: Vec<Vec<Inst>> = Vec::new();
    let mut behind_pool = vec![false; func.value_count()];
    for (index, inst) in func.insts().iter().enumerate() {
        let mut behind = inst.inputs.iter().any(|v| behind_pool[v.index()]);
        if let Op::AttnPool(AttnPool { scale, masked: false }) = inst.op {
            let (x, query) = (inst.inputs[0], inst.inputs[1]);
            if !behind_pool[query.index()] {
                let key = (x, scale.to_bits(), func.dtype(query), func.dtypes(&inst.outputs));
                let group = *group_of.entry(key).or_insert_with(|| {
                    groups.push(Vec::new());
                    groups.len() - 1
                });
                groups[group].push(Inst(index as u32));
            }
            behind = true;
        }
        for output in &inst.outputs {
            behind_pool[output.index()] = behind;
        }
    }
    groups
}

fn merge_pools(func: &Func, groups: &[Vec<Inst>]) -> Result<Func, IrError> {
    let mut group_of: BTreeMap<Inst, &[Inst]> = BTreeMap::new();
    for group in groups.iter().filter(|group| group.len() > 1) {
        group_of.extend(group.iter().map(|&inst| (inst, group.as_slice())));
    }
    let mut mover = Mover { rewriter: Rewriter::new(func), emitted: vec![false; func.insts().len()] };
    for index in 0..func.insts().len() {
        let inst = Inst(index as u32);
        match group_of.get(&inst) {
            _ if mover.emitted[index] => {}
            Some(group) => mover.emit_merged(group)?,
            None => mover.emit(inst)?,
        }
    }
    mover.rewriter.finish()
}

/// Copies instructions, each once.
struct Mover<'f> {
    rewriter: Rewriter<'f>,
    emitted: Vec<bool>,
}

impl Mover<'_> {
    fn emit(&mut self, inst: Inst) -> Result<(), IrError> {
        self.emitted[inst.index()] = true;
        self.rewriter.copy(self.rewriter.old().inst(inst))
    }

    /// Copies whatever `value` needs, in program order.
    fn need(&mut self, value: Value) -> Result<(), IrError> {
        let func = self.rewriter.old();
        let mut missing = Vec::new();
        let mut stack = vec![value];
        while let Some(value) = stack.pop() {
            let Some((at, inst)) = func.def_inst(value) else { continue };
            // Marked before it is copied, so that it is listed once.
            if !std::mem::replace(&mut self.emitted[at.index()], true) {
                missing.push(at);
                stack.extend(&inst.inputs);
            }
        }
        missing.sort_unstable();
        missing.into_iter().try_for_each(|inst| self.emit(inst))
    }

    /// Emits the pools of a group as one. No query needs a pool, so none is copied on the way.
    fn emit_merged(&mut self, group: &[Inst]) -> Result<(), IrError> {
        let func = self.rewriter.old();
        let first = func.inst(group[0]);
        let mut queries = Vec::with_capacity(group.len());
        for &inst in group {
            self.emitted[inst.index()] = true;
            self.need(func.inst(inst).inputs[1])?;
            queries.push(self.rewriter.get(func.inst(inst).inputs[1])?);
        }
        let x = self.rewriter.get(first.inputs[0])?;
        let mut b = self.rewriter.builder(&first.scope);
        let all = b.concat(&queries, 0)?;
        let merged = b.push_as(first.op.clone(), &[x, all], &func.dtypes(&first.outputs))?;
        let mut start = 0;
        for (&inst, &query) in group.iter().zip(&queries) {
            let mut b = self.rewriter.builder(&func.inst(inst).scope);
            let heads = b.func().shape(query)[0];
            let parts = [b.slice(merged[0], 1, start, heads)?, b.slice(merged[1], 1, start, heads)?];
            start += heads;
            self.rewriter.set_all(&func.inst(inst).outputs, &parts);
        }
        Ok(())
    }
}
