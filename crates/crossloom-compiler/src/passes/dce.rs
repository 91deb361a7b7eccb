//! Dead code elimination.
//!
//! Before: any function. After: every instruction has an output that a result depends on. Vision layers that no tap
//! reads disappear here.

use crossloom_ir::rewrite::Rewriter;
use crossloom_ir::{Func, IrErrors};

use super::Pass;
use crate::Context;

/// See the module comment.
#[derive(Debug)]
pub(super) struct Dce;

impl Pass for Dce {
    fn name(&self) -> &'static str {
        "dce"
    }

    fn run(&self, func: &Func, _: &Context<'_>) -> Result<Func, IrErrors> {
        let mut live = vec![false; func.value_count()];
        for result in func.results() {
            live[result.value.index()] = true;
        }
        let mut keep = vec![false; func.insts().len()];
        for (index, inst) in func.insts().iter().enumerate().rev() {
            if inst.outputs.iter().any(|v| live[v.index()]) {
                keep[index] = true;
                for input in &inst.inputs {
                    live[input.index()] = true;
                }
            }
        }
        let mut rewriter = Rewriter::new(func);
        for (inst, _) in func.insts().iter().zip(&keep).filter(|(_, keep)| **keep) {
            rewriter.copy(inst)?;
        }
        Ok(rewriter.finish()?)
    }
}
