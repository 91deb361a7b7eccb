//! Common subexpression elimination.
//!
//! Before: any function (ops have no side effects). After: no two instructions have the same op, attributes, operands and
//! result types, but for conversions that widen: they cost little, and one that served from the forward to the backward
//! pass would hold in memory what is kept in 16 bits to save it. The first one stays, with its scope.

use std::collections::HashMap;

use crossloom_ir::func::InstData;
use crossloom_ir::op::Op;
use crossloom_ir::rewrite::Rewriter;
use crossloom_ir::{DType, Func, IrErrors, Value};

use super::Pass;
use crate::Context;

/// See the module comment.
#[derive(Debug)]
pub(super) struct Cse;

impl Pass for Cse {
    fn name(&self) -> &'static str {
        "cse"
    }

    fn run(&self, func: &Func, _: &Context<'_>) -> Result<Func, IrErrors> {
        let mut rewriter = Rewriter::new(func);
        // Only looked up, never iterated: the order of a hash map cannot be seen.
        let mut seen: HashMap<(String, Vec<DType>, Vec<Value>), Vec<Value>> = HashMap::new();
        for inst in func.insts() {
            let inputs = rewriter.get_all(&inst.inputs)?;
            let op = format!("{}{}", inst.op.mnemonic(), inst.op.attrs());
            if matches!(inst.op, Op::Convert(_)) && widens(func, inst) {
                rewriter.copy(inst)?;
                continue;
            }
            let key = (op, func.dtypes(&inst.outputs), inputs);
            if let Some(outputs) = seen.get(&key) {
                rewriter.set_all(&inst.outputs, &outputs.clone());
                continue;
            }
            rewriter.copy(inst)?;
            seen.insert(key, rewriter.get_all(&inst.outputs)?);
        }
        Ok(rewriter.finish()?)
    }
}

fn widens(func: &Func, inst: &InstData) -> bool {
    func.ty(inst.outputs[0]).bytes() > func.ty(inst.inputs[0]).bytes()
}
