//! `attn_pool`: rows of a group pooled by attention of a few queries.

use crate::attrs::Attrs;
use crate::grad::GradCx;
use crate::op::rows::softmax;
use crate::op::spec::{OpSpec, ensure};
use crate::op::{AttnPoolGrad, check, emit};
use crate::{Builder, Cost, IrError, Real, Tensor, TensorType, Value};

/// Operands: `x [G, N, D]`, `w [H, D]` (queries into which the key projection is absorbed) and, if `masked`,
/// `mask [G, N]`: rows where it is 0 are left out, and a group without rows pools to 0. Outputs: `pooled [G, H, D]`
/// = `sum_n p x_n`, `probs [G, H, N]` with `p = softmax_n(scale x_n . w_h)`. No gradient flows into the mask.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttnPool {
    /// Factor of the scores.
    pub scale: f64,
    /// A mask is given.
    pub masked: bool,
}

impl OpSpec for AttnPool {
    const MNEMONICS: &'static [&'static str] = &["attn_pool"];

    fn attrs(&self) -> Attrs {
        Attrs::new().float("scale", self.scale).flag("masked", self.masked)
    }

    fn from_attrs(_: &str, attrs: &mut Attrs) -> Result<Self, String> {
        Ok(Self { scale: attrs.take_float("scale")?, masked: attrs.take_flag("masked")? })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        check::count(inputs, if self.masked { &["x", "w", "mask"] } else { &["x", "w"] })?;
        let (x, w) = (inputs[0], inputs[1]);
        check::float_axes("x", x, 3)?;
        check::float_axes("w", w, 2)?;
        let (groups, rows, width, heads) = (x.shape[0], x.shape[1], x.shape[2], w.shape[0]);
        check::is_f32("w", w, &[heads, width])?;
        ensure(rows > 0, || format!("x is {x}, has no rows to pool"))?;
        if self.masked {
            check::is_f32("mask", inputs[2], &[groups, rows])?;
        }
        ensure(self.scale.is_finite(), || format!("attribute `scale` is {}, must be finite", self.scale))?;
        Ok(vec![TensorType::f32([groups, heads, width]), TensorType::f32([groups, heads, rows])])
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let [x, w] = [inputs[0], inputs[1]];
        let (groups, rows, width, heads) = (x.shape[0], x.shape[1], x.shape[2], w.shape[0]);
        let mut pooled = vec![0.0; groups * heads * width];
        let mut probs = vec![0.0; groups * heads * rows];
        for out in 0..groups * heads {
            let (group, head) = (out / heads, out % heads);
            let kept = |n: &usize| !self.masked || inputs[2].at(group * rows + n) != 0.0;
            let kept: Vec<usize> = (0..rows).filter(kept).collect();
            let product = |n: usize, c: usize| x.at((group * rows + n) * width + c) * w.at(head * width + c);
            let score = |&n: &usize| self.scale * (0..width).map(|c| product(n, c)).sum::<f64>();
            let scores: Vec<f64> = kept.iter().map(score).collect();
            for (n, p) in kept.into_iter().zip(softmax(&scores)) {
                probs[out * rows + n] = p;
                for c in 0..width {
                    pooled[out * width + c] += p * x.at((group * rows + n) * width + c);
                }
            }
        }
        Ok(vec![
            Tensor::from_fn([groups, heads, width], |i| pooled[i]),
            Tensor::from_fn([groups, heads, rows], |i| probs[i]),
        ])
    }

    fn gradient(&self, cx: &mut GradCx<'_>) -> Result<(), IrError> {
        if cx.out_grad(1).is_some() {
            cx.expand_first();
            return Ok(());
        }
        let Some(dpooled) = cx.out_grad(0) else { return Ok(()) };
        // Rows that were left out have probability 0, which is all that the gradient needs to know of the mask.
        let operands = [dpooled, cx.input(0), cx.input(1), cx.output(1)];
        let grads = cx.builder().push(AttnPoolGrad { scale: self.scale }, &operands)?;
        cx.add(0, grads[0])?;
        cx.add(1, grads[1])
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let (x, w) = (inputs[0], inputs[1]);
        let [groups, rows] = [0, 1].map(|axis| b.func().shape(x)[axis]);
        let shape = [groups, b.func().shape(w)[0], rows];
        let scores = scores(b, x, w, self.scale)?;
        let probs = if self.masked {
            let unmasked = emit::equals(b, inputs[2], 0.0)?;
            let bias = b.affine(unmasked, emit::FORBIDDEN, 0.0)?;
            let bias = b.broadcast(bias, &shape, &[0, 2])?;
            let scores = b.add(scores, bias)?;
            let (powers, _, _) = emit::exp_rows(b, scores)?;
            let kept = emit::complement(b, unmasked)?;
            let kept = b.broadcast(kept, &shape, &[0, 2])?;
            let powers = b.mul(powers, kept)?;
            let sum = emit::sum_rows(b, powers)?;
            let empty = emit::equals(b, sum, 0.0)?;
            let sum = b.add(sum, empty)?;
            let sum = emit::spread_rows(b, sum, &shape)?;
            b.div(powers, sum)?
        } else {
            b.one(crate::op::Softmax, &[scores])?
        };
        let pooled = b.matmul(probs, x, false, false)?;
        Ok(Some(vec![pooled, probs]))
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        // Per group, head and row: two products of the width; scale and the five steps of a softmax.
        let (width, pairs) = (inputs[0].last() as u64, outputs[1].elements() as u64);
        Cost::new(pairs * (4 * width + 6), inputs, outputs)
    }
}

/// `scale x_n . w_h` as `[G, H, N]`.
pub(super) fn scores(b: &mut Builder<'_>, x: Value, w: Value, scale: f64) -> Result<Value, IrError> {
    let [groups, rows, width] = [0, 1, 2].map(|axis| b.func().shape(x)[axis]);
    let heads = b.func().shape(w)[0];
    let flat = b.reshape(x, &[groups * rows, width])?;
    let scores = b.matmul(flat, w, false, true)?;
    let scores = b.affine(scores, scale, 0.0)?;
    let scores = b.reshape(scores, &[groups, rows, heads])?;
    b.transpose(scores, &[0, 2, 1])
}
