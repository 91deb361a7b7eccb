//! Low-rank fusion: the low-rank branches of all taps are added where the shared projector makes its sums (AMP).
//!
//! Before: any function. After: where the target has a kernel for it, a `linear` whose residual is a `concat` of products, one per tap and all
//! of one rank, perhaps scaled, that nothing else reads, is a `low_rank_linear`, and with it an activation of its result that is the first
//! to read it. Products whose results nothing else reads are gone.

use std::collections::BTreeMap;

use crossloom_ir::op::{Affine, Linear, LowRankLinear, Op, Unary, UnaryKind};
use crossloom_ir::rewrite::Rewriter;
use crossloom_ir::{DType, Func, IrErrors, TensorType, Value};

use super::Pass;
use super::uses::Uses;
use crate::Context;

/// See the module comment.
#[derive(Debug)]
pub(super) struct LowRankFusion;

/// A linear layer with its branches.
struct Layer {
    op: LowRankLinear,
    /// In the order of the op, `x` of any rank.
    inputs: Vec<Value>,
    /// Results of any rank.
    outputs: Vec<Value>,
    absorbed: Vec<usize>,
}

impl Pass for LowRankFusion {
    fn name(&self) -> &'static str {
        "low_rank_fusion"
    }

    fn run(&self, func: &Func, cx: &Context<'_>) -> Result<Func, IrErrors> {
        let uses = Uses::of_func(func);
        let layers: BTreeMap<usize, Layer> = (0..func.insts().len())
            .filter_map(|index| Some((index, Layer::at(func, &uses, index)?)))
            .filter(|(_, layer)| layer.has_kernel(func, cx))
            .collect();
        if layers.is_empty() {
            return Ok(func.clone());
        }
        let mut rewriter = Rewriter::new(func);
        for (index, inst) in func.insts().iter().enumerate() {
            if let Some(layer) = layers.get(&index) {
                let inputs = rewriter.get_all(&layer.inputs)?;
                let outputs =
                    rewriter.builder(&inst.scope).push_as(layer.op, &inputs, &func.dtypes(&layer.outputs))?;
                rewriter.set_all(&layer.outputs, &outputs);
            } else if !layers.values().any(|layer| layer.absorbed.contains(&index)) {
                rewriter.copy(inst)?;
            }
        }
        Ok(rewriter.finish()?)
    }
}

impl Layer {
    fn at(func: &Func, uses: &Uses, index: usize) -> Option<Self> {
        let inst = &func.insts()[index];
        let Op::Linear(linear @ Linear { act: None, residual: true, .. }) = inst.op else { return None };
        let mut branches = inst.inputs[linear.residual_index()?];
        let (mut absorbed, mut scale) = (Vec::new(), 1.0);
        (uses.of(branches) == [index]).then_some(())?;
        let rounded = func.dtype(branches);
        let (mut at, mut made) = func.def_inst(branches)?;
        if let Op::Affine(Affine { mul, add: 0.0 }) = made.op {
            absorbed.push(at.index());
            scale = mul;
            branches = made.inputs[0];
            // What is scaled is rounded once more otherwise.
            (rounded == DType::F32 && uses.of(branches) == [at.index()]).then_some(())?;
            (at, made) = func.def_inst(branches)?;
        }
        let rounded = func.dtype(branches);
        let parts: Vec<Value> = match &made.op {
            Op::Concat(concat) if concat.axis == 0 && func.ty(branches).rank() == 2 => {
                absorbed.push(at.index());
                made.inputs.iter().all(|&part| uses.of(part) == [at.index()]).then_some(())?;
                made.inputs.clone()
            }
            Op::Linear(_) => vec![branches],
            _ => return None,
        };
        let mut pairs = Vec::with_capacity(2 * parts.len());
        for part in parts {
            let (at, product) = func.def_inst(part)?;
            (product.op == Op::Linear(Linear::default())).then_some(())?;
            absorbed.push(at.index());
            pairs.extend_from_slice(&product.inputs);
        }
        let shared = &inst.inputs[..2 + usize::from(linear.bias)];
        (func.ty(shared[0]).rank() == 2).then_some(())?;
        let sum = inst.outputs[0];
        let mut outputs = vec![sum];
        let mut act = None;
        // An activation reads the sum as it is held; here it reads it as it is made.
        if func.dtype(sum) == DType::F32
            && let Some(&reader) = uses.of(sum).first()
            && let Some(InstAct { at, act: kind, value }) = activation(func, reader)
        {
            absorbed.push(at);
            act = Some(kind);
            outputs.insert(0, value);
        }
        let taps = pairs.len() / 2;
        let op = LowRankLinear { taps, bias: linear.bias, act, scale, rounded };
        Some(Self { op, inputs: [shared, &pairs[..]].concat(), outputs, absorbed })
    }

    fn has_kernel(&self, func: &Func, cx: &Context<'_>) -> bool {
        let types = |values: &[Value]| values.iter().map(|&v| func.ty(v)).collect::<Vec<&TensorType>>();
        let op: Op = self.op.into();
        let (inputs, outputs) = (types(&self.inputs), types(&self.outputs));
        op.infer(&inputs).is_ok() && cx.target.kernel(&op, &inputs, &outputs).is_some()
    }
}

/// An activation, where it stands and what it gives.
struct InstAct {
    at: usize,
    act: crossloom_ir::op::Activation,
    value: Value,
}

fn activation(func: &Func, at: usize) -> Option<InstAct> {
    let inst = func.insts().get(at)?;
    match inst.op {
        Op::Unary(Unary(UnaryKind::Act(act))) => Some(InstAct { at, act, value: inst.outputs[0] }),
        _ => None,
    }
}
