//! Norm fusion: sums around a normalisation are made in the same sweep.
//!
//! Before: any function. After: a sum that feeds a norm directly is an `add_layer_norm`/`add_rms_norm` where the sum
//! stood (the sum stays available as its first output; of several norms the first takes it), provided the norm's scale
//! and shift are defined by then; the sum of a norm's input gradient, read by nothing else, with the gradient that
//! passes by on the residual stream is made by the gradient op itself, where the sum stood, provided nothing reads the
//! gradients of scale and shift by then.

use crossloom_ir::func::InstData;
use crossloom_ir::op::{AddLayerNorm, AddRmsNorm, Binary, BinaryKind, LayerNormGrad, Op, RmsNormGrad};
use crossloom_ir::rewrite::Rewriter;
use crossloom_ir::{DType, Func, Inst, IrError, IrErrors, Value};

use super::Pass;
use super::uses::Uses;
use crate::Context;

/// See the module comment.
#[derive(Debug)]
pub(super) struct NormFusion;

/// What becomes of an instruction.
#[derive(Clone, Copy)]
enum Fate {
    /// It stays.
    Copied,
    /// Another instruction makes its outputs.
    Absorbed,
    /// It is a sum and takes in the norm that reads it.
    SumOf(Inst),
    /// It is a sum and takes in the norm gradient it reads; the other operand is given.
    SumOfGradient(Inst, Value),
}

impl Pass for NormFusion {
    fn name(&self) -> &'static str {
        "norm_fusion"
    }

    fn run(&self, func: &Func, _: &Context<'_>) -> Result<Func, IrErrors> {
        let mut fates = vec![Fate::Copied; func.insts().len()];
        match_norms(func, &mut fates);
        match_gradients(func, &mut fates);
        let mut rewriter = Rewriter::new(func);
        for (inst, fate) in func.insts().iter().zip(&fates) {
            match *fate {
                Fate::Copied => rewriter.copy(inst)?,
                Fate::Absorbed => {}
                Fate::SumOf(norm) => fuse_sum(&mut rewriter, inst, func.inst(norm))?,
                Fate::SumOfGradient(grad, other) => {
                    fuse_gradient(&mut rewriter, inst, func.inst(grad), other)?;
                }
            }
        }
        Ok(rewriter.finish()?)
    }
}

/// Whether it is a sum whose reader, made one with it, reads the same number: one that is not rounded.
fn is_wide_sum(func: &Func, inst: &InstData) -> bool {
    is_sum(&inst.op) && func.dtype(inst.outputs[0]) == DType::F32
}

fn is_sum(op: &Op) -> bool {
    matches!(op, Op::Binary(Binary(BinaryKind::Add)))
}

fn is_norm_gradient(op: &Op) -> bool {
    matches!(op, Op::LayerNormGrad(_) | Op::RmsNormGrad(_))
}

/// Gives every sum the first norm that reads it.
fn match_norms(func: &Func, fates: &mut [Fate]) {
    for (index, inst) in func.insts().iter().enumerate() {
        if !matches!(inst.op, Op::LayerNorm(_) | Op::RmsNorm(_)) {
            continue;
        }
        let Some((at, sum)) = func.def_inst(inst.inputs[0]) else { continue };
        // The norm moves up to the sum; the gradient ops may still move down.
        let in_time =
            |&v: &Value| func.def_inst(v).is_none_or(|(def, by)| def < at && !is_norm_gradient(&by.op));
        if is_wide_sum(func, sum)
            && matches!(fates[at.index()], Fate::Copied)
            && inst.inputs[1..].iter().all(in_time)
        {
            fates[at.index()] = Fate::SumOf(Inst(index as u32));
            fates[index] = Fate::Absorbed;
        }
    }
}

/// Gives every other sum the norm gradient it reads.
fn match_gradients(func: &Func, fates: &mut [Fate]) {
    let uses = func.use_counts();
    let readers = Uses::of_func(func);
    for (index, inst) in func.insts().iter().enumerate() {
        if !is_sum(&inst.op) || !matches!(fates[index], Fate::Copied) {
            continue;
        }
        for (value, other) in [(inst.inputs[0], inst.inputs[1]), (inst.inputs[1], inst.inputs[0])] {
            let Some((at, grad)) = func.def_inst(value) else { continue };
            let plain = match &grad.op {
                Op::LayerNormGrad(op) => !op.residual,
                Op::RmsNormGrad(op) => !op.residual,
                _ => false,
            };
            let only_use = grad.outputs[0] == value && uses[value.index()] == 1;
            let wide = func.dtype(value) == DType::F32;
            // The gradient op moves down to the sum.
            let in_time = grad.outputs[1..].iter().all(|v| readers.first(*v) > index);
            if plain && only_use && wide && in_time {
                fates[at.index()] = Fate::Absorbed;
                fates[index] = Fate::SumOfGradient(at, other);
                break;
            }
        }
    }
}

fn fuse_sum(rewriter: &mut Rewriter<'_>, sum: &InstData, norm: &InstData) -> Result<(), IrError> {
    let mut inputs = rewriter.get_all(&sum.inputs)?;
    inputs.extend(rewriter.get_all(&norm.inputs[1..])?);
    let op: Op = match &norm.op {
        Op::LayerNorm(op) => AddLayerNorm { eps: op.eps }.into(),
        Op::RmsNorm(op) => AddRmsNorm { eps: op.eps }.into(),
        other => return Err(IrError::new("is matched as a norm but is none").with_op(other.mnemonic())),
    };
    let old = rewriter.old();
    let types = [old.dtypes(&sum.outputs), old.dtypes(&norm.outputs)].concat();
    let outputs = rewriter.builder(&norm.scope).push_as(op, &inputs, &types)?;
    rewriter.set(sum.outputs[0], outputs[0]);
    rewriter.set_all(&norm.outputs, &outputs[1..]);
    Ok(())
}

fn fuse_gradient(
    rewriter: &mut Rewriter<'_>,
    sum: &InstData,
    grad: &InstData,
    other: Value,
) -> Result<(), IrError> {
    let mut inputs = rewriter.get_all(&grad.inputs)?;
    inputs.push(rewriter.get(other)?);
    let op: Op = match &grad.op {
        Op::LayerNormGrad(_) => LayerNormGrad { residual: true }.into(),
        Op::RmsNormGrad(_) => RmsNormGrad { residual: true }.into(),
        other => {
            return Err(IrError::new("is matched as a norm gradient but is none").with_op(other.mnemonic()));
        }
    };
    let old = rewriter.old();
    let types = [old.dtypes(&sum.outputs), old.dtypes(&grad.outputs[1..])].concat();
    let outputs = rewriter.builder(&grad.scope).push_as(op, &inputs, &types)?;
    rewriter.set(sum.outputs[0], outputs[0]);
    rewriter.set_all(&grad.outputs[1..], &outputs[1..]);
    Ok(())
}
