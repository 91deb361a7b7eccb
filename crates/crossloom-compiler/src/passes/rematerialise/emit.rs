//! Writes the function in which some values are computed again.

use std::collections::{BTreeMap, BTreeSet};

use crossloom_ir::func::ValueDef;
use crossloom_ir::rewrite::Rewriter;
use crossloom_ir::{Func, IrError, Scope, Value};

use super::RECOMPUTE;
use super::site::Site;

/// The function in which the backward pass computes the values `again`, by root, itself: each once, where it is first read.
pub(super) fn emit(site: &Site<'_>, again: &[bool]) -> Result<Func, IrError> {
    let mut emitter = Emitter { site, again, rewriter: Rewriter::new(site.func), late: BTreeMap::new() };
    for (index, inst) in site.func.insts().iter().enumerate() {
        if index < site.forward {
            emitter.rewriter.copy(inst)?;
            continue;
        }
        emitter.prepare(&inst.inputs)?;
        let inputs = emitter.late_all(&inst.inputs)?;
        let asked = site.func.dtypes(&inst.outputs);
        let outputs = emitter.rewriter.builder(&inst.scope).push_as(inst.op.clone(), &inputs, &asked)?;
        emitter.rewriter.set_all(&inst.outputs, &outputs);
    }
    emitter.rewriter.finish()
}

struct Emitter<'s, 'f> {
    site: &'s Site<'f>,
    again: &'s [bool],
    rewriter: Rewriter<'f>,
    /// What values of the forward pass that are computed again are in the backward pass.
    late: BTreeMap<Value, Value>,
}

impl Emitter<'_, '_> {
    /// The instruction that has to be repeated before a value can be read, if there is one.
    fn repeated(&self, value: Value) -> Option<usize> {
        let is_again = self.again[self.site.root[value.index()].index()] && !self.late.contains_key(&value);
        match self.site.func.def(value) {
            ValueDef::Output(at, _) if is_again && at.index() < self.site.forward => Some(at.index()),
            _ => None,
        }
    }

    /// Repeats what has to be before some values are read, in program order.
    fn prepare(&mut self, values: &[Value]) -> Result<(), IrError> {
        let mut open: Vec<usize> = values.iter().filter_map(|&value| self.repeated(value)).collect();
        let mut insts = BTreeSet::new();
        while let Some(at) = open.pop() {
            if insts.insert(at) {
                let reads = &self.site.func.insts()[at].inputs;
                open.extend(reads.iter().filter_map(|&value| self.repeated(value)));
            }
        }
        for at in insts {
            let inst = &self.site.func.insts()[at];
            let inputs = self.late_all(&inst.inputs)?;
            let asked = self.site.func.dtypes(&inst.outputs);
            let scope = match inst.scope.as_str() {
                "" => Scope::new(RECOMPUTE),
                of_value => Scope::new(RECOMPUTE).child(of_value),
            };
            let outputs = self.rewriter.builder(&scope).push_as(inst.op.clone(), &inputs, &asked)?;
            for (&old, new) in inst.outputs.iter().zip(outputs) {
                if self.again[self.site.root[old.index()].index()] {
                    self.late.insert(old, new);
                }
            }
        }
        Ok(())
    }

    /// What the backward pass reads in the place of values.
    fn late_all(&self, values: &[Value]) -> Result<Vec<Value>, IrError> {
        let late =
            |value: &Value| self.late.get(value).map_or_else(|| self.rewriter.get(*value), |&new| Ok(new));
        values.iter().map(late).collect()
    }
}
