//! Gradient fusion: what comes back through a linear layer and its activation is one product, and so are the gradients of its weight and bias.
//!
//! Before: any function, differentiated. After: where the target has a kernel for it, a product that only a `mul` with the slope of an activation
//! reads, perhaps in another shape, is a `matmul_act_grad` where the `mul` stood, if both are held in one type; and a product `dy^T x` and the
//! sum of the rows of `dy` are one `weight_grad` where the first of them stood, if the operands are there by then.

use std::collections::BTreeMap;

use crossloom_ir::func::InstData;
use crossloom_ir::op::{
    Activation, Binary, BinaryKind, Matmul, MatmulActGrad, Op, Reduce, ReduceKind, Unary, UnaryKind,
    WeightGrad,
};
use crossloom_ir::rewrite::Rewriter;
use crossloom_ir::{Func, IrError, IrErrors, TensorType, Value};

use super::Pass;
use super::uses::Uses;
use crate::Context;

/// See the module comment.
#[derive(Debug)]
pub(super) struct GradientFusion;

/// Instructions that become one.
struct Fused {
    op: Op,
    inputs: Vec<Value>,
    outputs: Vec<Value>,
    /// Types of operands and results, as the instruction has them.
    types: [Vec<TensorType>; 2],
    absorbed: Vec<usize>,
}

impl Pass for GradientFusion {
    fn name(&self) -> &'static str {
        "gradient_fusion"
    }

    fn run(&self, func: &Func, cx: &Context<'_>) -> Result<Func, IrErrors> {
        let uses = Uses::of_func(func);
        let mut by_place: BTreeMap<usize, Fused> = BTreeMap::new();
        let mut absorbed = vec![false; func.insts().len()];
        for (index, inst) in func.insts().iter().enumerate() {
            let found = through_activation(func, &uses, index, inst)
                .or_else(|| of_weight_and_bias(func, &uses, index, inst));
            let Some((place, fused)) = found else { continue };
            if fused.has_kernel(cx) && !fused.absorbed.iter().any(|&at| absorbed[at]) {
                fused.absorbed.iter().for_each(|&at| absorbed[at] = true);
                by_place.insert(place, fused);
            }
        }
        if by_place.is_empty() {
            return Ok(func.clone());
        }
        let mut rewriter = Rewriter::new(func);
        for (index, inst) in func.insts().iter().enumerate() {
            if let Some(fused) = by_place.get(&index) {
                fused.emit(&mut rewriter, inst)?;
            } else if !absorbed[index] {
                rewriter.copy(inst)?;
            }
        }
        Ok(rewriter.finish()?)
    }
}

impl Fused {
    fn has_kernel(&self, cx: &Context<'_>) -> bool {
        let [inputs, outputs] = self.types.each_ref().map(|types| types.iter().collect::<Vec<_>>());
        self.op.infer(&inputs).is_ok() && cx.target.kernel(&self.op, &inputs, &outputs).is_some()
    }

    /// Emits it, operands and results in the shapes that it wants and that others know.
    fn emit(&self, rewriter: &mut Rewriter<'_>, place: &InstData) -> Result<(), IrError> {
        let func = rewriter.old();
        let mut inputs = rewriter.get_all(&self.inputs)?;
        let mut b = rewriter.builder(&place.scope);
        for (input, ty) in inputs.iter_mut().zip(&self.types[0]) {
            *input = b.reshape(*input, &ty.shape)?;
        }
        let dtypes: Vec<_> = self.types[1].iter().map(|ty| ty.dtype).collect();
        let mut outputs = b.push_as(self.op.clone(), &inputs, &dtypes)?;
        for (output, &old) in outputs.iter_mut().zip(&self.outputs) {
            *output = b.reshape(*output, func.shape(old))?;
        }
        rewriter.set_all(&self.outputs, &outputs);
        Ok(())
    }
}

/// The activation of whose slope a value is, and what it was applied to.
fn slope(func: &Func, value: Value) -> Option<(usize, Activation, Value)> {
    let (at, inst) = func.def_inst(value)?;
    match inst.op {
        Op::Unary(Unary(UnaryKind::ActGrad(act))) => Some((at.index(), act, inst.inputs[0])),
        _ => None,
    }
}

/// A `mul` of a product and a slope.
fn through_activation(func: &Func, uses: &Uses, index: usize, inst: &InstData) -> Option<(usize, Fused)> {
    let Op::Binary(Binary(BinaryKind::Mul)) = inst.op else { return None };
    let (mut product, of_slope) = match (slope(func, inst.inputs[0]), slope(func, inst.inputs[1])) {
        (None, Some(found)) => (inst.inputs[0], found),
        (Some(found), None) => (inst.inputs[1], found),
        _ => return None,
    };
    let (slope_at, act, pre) = of_slope;
    let sloped = func.insts()[slope_at].outputs[0];
    let rounded = func.dtype(product);
    (uses.of(sloped) == [index] && uses.of(product) == [index] && func.dtype(sloped) == rounded)
        .then_some(())?;
    let mut absorbed = vec![index, slope_at];
    let (mut at, mut made) = func.def_inst(product)?;
    if let Op::Reshape(_) = made.op {
        absorbed.push(at.index());
        product = made.inputs[0];
        (uses.of(product) == [at.index()]).then_some(())?;
        (at, made) = func.def_inst(product)?;
    }
    let Op::Matmul(matmul) = made.op else { return None };
    absorbed.push(at.index());
    let ty = |value: Value| func.ty(value).clone();
    let shape = func.shape(product).to_vec();
    let of_shape = |value: Value| TensorType { dtype: func.dtype(value), shape: shape.clone() };
    let result = inst.outputs[0];
    let fused = Fused {
        op: MatmulActGrad { product: matmul, act, rounded }.into(),
        inputs: vec![made.inputs[0], made.inputs[1], pre],
        outputs: vec![result],
        types: [vec![ty(made.inputs[0]), ty(made.inputs[1]), of_shape(pre)], vec![of_shape(result)]],
        absorbed,
    };
    Some((index, fused))
}

/// A product `dy^T x` beside the sum of the rows of `dy`.
fn of_weight_and_bias(func: &Func, uses: &Uses, index: usize, inst: &InstData) -> Option<(usize, Fused)> {
    let Op::Matmul(Matmul { transpose_a: true, transpose_b: false }) = inst.op else { return None };
    let (dy, x) = (inst.inputs[0], inst.inputs[1]);
    let is_sum = |at: &usize| match func.insts().get(*at).map(|inst| &inst.op) {
        Some(Op::Reduce(Reduce { kind: ReduceKind::Sum, axes })) => *axes == [0],
        _ => false,
    };
    let sum = *uses.of(dy).iter().find(|at| is_sum(at))?;
    let place = index.min(sum);
    func.def_inst(x).is_none_or(|(at, _)| at.index() < place).then_some(())?;
    let ty = |value: Value| func.ty(value).clone();
    let outputs = vec![inst.outputs[0], func.insts()[sum].outputs[0]];
    let types = [vec![ty(dy), ty(x)], outputs.iter().map(|&value| ty(value)).collect()];
    Some((
        place,
        Fused { op: WeightGrad.into(), inputs: vec![dy, x], outputs, types, absorbed: vec![index, sum] },
    ))
}
