//! AGF norm fusion: a gated update and the norm that reads it are one sweep, and so are their gradients.
//!
//! Before: any function. After: where the target has a kernel for it, an `agf_inject` and the first norm that reads its result, if the norm's
//! weights are there by then, are one `agf_inject_norm` where the update stood; a norm's gradient and the `agf_inject_grad` that reads
//! it, if the operands of this are there by then, are one `agf_inject_norm_grad` where the norm's gradient stood. Of a convex update nothing
//! else may read the norm's gradient, which it changes.

use std::collections::BTreeMap;

use crossloom_ir::func::InstData;
use crossloom_ir::op::{AgfInject, AgfInjectNorm, AgfInjectNormGrad, NormKind, Op};
use crossloom_ir::rewrite::Rewriter;
use crossloom_ir::{Func, IrErrors, TensorType, Value};

use super::Pass;
use super::uses::Uses;
use crate::Context;

/// See the module comment.
#[derive(Debug)]
pub(super) struct AgfNormFusion;

/// Two instructions that become one where the first stood.
struct Pair {
    op: Op,
    inputs: Vec<Value>,
    outputs: Vec<Value>,
    first: usize,
    second: usize,
}

impl Pass for AgfNormFusion {
    fn name(&self) -> &'static str {
        "agf_norm_fusion"
    }

    fn run(&self, func: &Func, cx: &Context<'_>) -> Result<Func, IrErrors> {
        let uses = Uses::of_func(func);
        let mut by_first = BTreeMap::new();
        let mut absorbed = vec![false; func.insts().len()];
        for (index, inst) in func.insts().iter().enumerate() {
            let pair = match &inst.op {
                Op::AgfInject(op) => forward(func, &uses, *op, index, inst),
                Op::LayerNormGrad(op) => backward(func, &uses, NormKind::Layer, op.residual, index, inst),
                Op::RmsNormGrad(op) => backward(func, &uses, NormKind::Rms, op.residual, index, inst),
                _ => None,
            };
            if let Some(pair) = pair.filter(|pair| !absorbed[pair.second] && pair.has_kernel(func, cx)) {
                absorbed[pair.second] = true;
                by_first.insert(index, pair);
            }
        }
        if by_first.is_empty() {
            return Ok(func.clone());
        }
        let mut rewriter = Rewriter::new(func);
        for (index, inst) in func.insts().iter().enumerate() {
            if let Some(pair) = by_first.get(&index) {
                let inputs = rewriter.get_all(&pair.inputs)?;
                let types = func.dtypes(&pair.outputs);
                let outputs = rewriter.builder(&inst.scope).push_as(pair.op.clone(), &inputs, &types)?;
                rewriter.set_all(&pair.outputs, &outputs);
            } else if !absorbed[index] {
                rewriter.copy(inst)?;
            }
        }
        Ok(rewriter.finish()?)
    }
}

impl Pair {
    /// Whether what the second reads is there where the first stands.
    fn is_in_time(&self, func: &Func) -> bool {
        let made = |v: &Value| func.def_inst(*v).is_none_or(|(at, _)| at.index() < self.first);
        self.inputs.iter().all(made)
    }

    fn has_kernel(&self, func: &Func, cx: &Context<'_>) -> bool {
        let types = |values: &[Value]| values.iter().map(|&v| func.ty(v)).collect::<Vec<&TensorType>>();
        cx.target.kernel(&self.op, &types(&self.inputs), &types(&self.outputs)).is_some()
    }
}

fn forward(func: &Func, uses: &Uses, inject: AgfInject, first: usize, inst: &InstData) -> Option<Pair> {
    let state = inst.outputs[0];
    for &second in uses.of(state) {
        let Some(norm) = func.insts().get(second) else { continue };
        let (kind, eps) = match &norm.op {
            Op::LayerNorm(op) => (NormKind::Layer, op.eps),
            Op::RmsNorm(op) => (NormKind::Rms, op.eps),
            _ => continue,
        };
        let op = AgfInjectNorm { inject, norm: kind, eps }.into();
        let inputs = [&inst.inputs[..], &norm.inputs[1..]].concat();
        let outputs = [&[state], &norm.outputs[..]].concat();
        let pair = Pair { op, inputs, outputs, first, second };
        if norm.inputs[0] == state && pair.is_in_time(func) {
            return Some(pair);
        }
    }
    None
}

fn backward(
    func: &Func,
    uses: &Uses,
    norm: NormKind,
    residual: bool,
    first: usize,
    inst: &InstData,
) -> Option<Pair> {
    let of_state = inst.outputs[0];
    for &second in uses.of(of_state) {
        let Some(update) = func.insts().get(second) else { continue };
        let Op::AgfInjectGrad(grad) = update.op else { continue };
        if update.inputs[0] != of_state || (grad.convex && uses.of(of_state).len() > 1) {
            continue;
        }
        let inject = AgfInject { convex: grad.convex, channel: grad.channel };
        let op = AgfInjectNormGrad { inject, norm, residual }.into();
        let inputs = [&inst.inputs[..], &update.inputs[1..]].concat();
        let of_state = update.outputs.get(2).copied().unwrap_or(of_state);
        let outputs = [&[of_state], &inst.outputs[1..], &update.outputs[..2]].concat();
        let pair = Pair { op, inputs, outputs, first, second };
        if pair.is_in_time(func) {
            return Some(pair);
        }
    }
    None
}
