//! Legalization: what the target has no kernel for is said otherwise.
//!
//! Before: any function. After: every instruction has a kernel, or there is no other way to say it; the planner reports
//! such with their scopes.
//!
//! 1. *Widening.* An instruction whose 16-bit types the target refuses reads `convert`s of its operands and has `f32`
//!    results that a `convert` rounds. Every op computes in `f32` and rounds its results once, and what a movement carries
//!    is a number of the narrow type already, so no number changes.
//! 2. *Expansion.* What has no kernel in `f32` either is replaced by its expansion, and so on. Of two instructions of one op only
//!    the one whose types the target refuses is.

use crossloom_ir::expand::expand_insts;
use crossloom_ir::func::InstData;
use crossloom_ir::op::Op;
use crossloom_ir::rewrite::Rewriter;
use crossloom_ir::{DType, Func, IrError, IrErrors, TensorType, Value};

use super::Pass;
use crate::{Context, Target};

/// See the module comment.
#[derive(Debug)]
pub(crate) struct Legalize;

impl Pass for Legalize {
    fn name(&self) -> &'static str {
        "legalize"
    }

    fn run(&self, func: &Func, cx: &Context<'_>) -> Result<Func, IrErrors> {
        let lacks = |func: &Func, inst: &InstData| !has_kernel(cx.target, func, inst);
        Ok(expand_insts(&widen(func, cx.target)?, lacks)?)
    }
}

fn is_narrow(dtype: DType) -> bool {
    matches!(dtype, DType::Bf16 | DType::F16)
}

fn widened(dtype: DType) -> DType {
    if is_narrow(dtype) { DType::F32 } else { dtype }
}

fn has_kernel(target: &dyn Target, func: &Func, inst: &InstData) -> bool {
    let types = |values: &[Value]| values.iter().map(|&v| func.ty(v)).collect::<Vec<&TensorType>>();
    target.kernel(&inst.op, &types(&inst.inputs), &types(&inst.outputs)).is_some()
}

/// Whether an instruction is to be computed between conversions.
fn is_to_be_widened(func: &Func, inst: &InstData, target: &dyn Target) -> bool {
    let narrow = inst.inputs.iter().chain(&inst.outputs).any(|&v| is_narrow(func.dtype(v)));
    narrow && !matches!(inst.op, Op::Convert(_)) && !has_kernel(target, func, inst)
}

fn widen(func: &Func, target: &dyn Target) -> Result<Func, IrError> {
    let mut rewriter = Rewriter::new(func);
    for inst in func.insts() {
        if !is_to_be_widened(func, inst, target) {
            rewriter.copy(inst)?;
            continue;
        }
        let mut inputs = rewriter.get_all(&inst.inputs)?;
        let types = func.dtypes(&inst.outputs);
        let mut b = rewriter.builder(&inst.scope);
        for input in &mut inputs {
            *input = b.convert(*input, widened(b.func().dtype(*input)))?;
        }
        let wide: Vec<DType> = types.iter().map(|&dtype| widened(dtype)).collect();
        let mut outputs = b.push_as(inst.op.clone(), &inputs, &wide)?;
        for (output, &dtype) in outputs.iter_mut().zip(&types) {
            *output = b.convert(*output, dtype)?;
        }
        rewriter.set_all(&inst.outputs, &outputs);
    }
    rewriter.finish()
}
