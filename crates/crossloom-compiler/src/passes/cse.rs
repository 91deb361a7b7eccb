//! Common subexpression elimination.
//!
//! Before: any function (ops have no side effects). After: no two instructions have the same op, attributes and
//! operands. The first one stays, with its scope.

use std::collections::HashMap;

use crossloom_ir::rewrite::Rewriter;
use crossloom_ir::{Func, IrErrors, Value};

use super::Pass;

/// See the module comment.
#[derive(Debug)]
pub(super) struct Cse;

impl Pass for Cse {
    fn name(&self) -> &'static str {
        "cse"
    }

    fn run(&self, func: &Func) -> Result<Func, IrErrors> {
        let mut rewriter = Rewriter::new(func);
        // Only looked up, never iterated: the order of a hash map cannot be seen.
        let mut seen: HashMap<(String, Vec<Value>), Vec<Value>> = HashMap::new();
        for inst in func.insts() {
            let inputs = rewriter.get_all(&inst.inputs)?;
            let key = (format!("{}{}", inst.op.mnemonic(), inst.op.attrs()), inputs);
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
