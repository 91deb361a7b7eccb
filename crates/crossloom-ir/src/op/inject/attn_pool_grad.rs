//! `attn_pool_grad`: attention pooling backwards.

use crate::attrs::Attrs;
use crate::op::spec::OpSpec;
use crate::op::{check, emit};
use crate::{Builder, Cost, IrError, Real, Tensor, TensorType, Value};

/// Operands: `dpooled [G, H, D]`, `x [G, N, D]`, `w [H, D]`, `probs [G, H, N]`. Outputs: `dx [G, N, D]`, `dw [H, D]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttnPoolGrad {
    /// Factor of the scores.
    pub scale: f64,
}

impl OpSpec for AttnPoolGrad {
    const MNEMONICS: &'static [&'static str] = &["attn_pool_grad"];

    fn attrs(&self) -> Attrs {
        Attrs::new().float("scale", self.scale)
    }

    fn from_attrs(_: &str, attrs: &mut Attrs) -> Result<Self, String> {
        Ok(Self { scale: attrs.take_float("scale")? })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        check::count(inputs, &["dpooled", "x", "w", "probs"])?;
        let (x, w) = (inputs[1], inputs[2]);
        check::float_axes("x", x, 3)?;
        check::float_axes("w", w, 2)?;
        let (groups, rows, width, heads) = (x.shape[0], x.shape[1], x.shape[2], w.shape[0]);
        check::is_f32("w", w, &[heads, width])?;
        check::is_f32("dpooled", inputs[0], &[groups, heads, width])?;
        check::is_f32("probs", inputs[3], &[groups, heads, rows])?;
        Ok(vec![x.clone(), w.clone()])
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let [dpooled, x, w, probs] = [inputs[0], inputs[1], inputs[2], inputs[3]];
        let (groups, rows, width, heads) = (x.shape[0], x.shape[1], x.shape[2], w.shape[0]);
        let (mut dx, mut dw) = (vec![0.0; x.data.len()], vec![0.0; w.data.len()]);
        for out in 0..groups * heads {
            let (group, head) = (out / heads, out % heads);
            let dprob = |n: usize| -> f64 {
                (0..width).map(|c| dpooled.at(out * width + c) * x.at((group * rows + n) * width + c)).sum()
            };
            let mean: f64 = (0..rows).map(|n| probs.at(out * rows + n) * dprob(n)).sum();
            for n in 0..rows {
                let p = probs.at(out * rows + n);
                let dscore = self.scale * p * (dprob(n) - mean);
                for c in 0..width {
                    let at = (group * rows + n) * width + c;
                    dx[at] += p * dpooled.at(out * width + c) + dscore * w.at(head * width + c);
                    dw[head * width + c] += dscore * x.at(at);
                }
            }
        }
        Ok(vec![Tensor::from_fn(x.shape.clone(), |i| dx[i]), Tensor::from_fn(w.shape.clone(), |i| dw[i])])
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let (dpooled, x, w, probs) = (inputs[0], inputs[1], inputs[2], inputs[3]);
        let [groups, rows, width] = [0, 1, 2].map(|axis| b.func().shape(x)[axis]);
        let heads = b.func().shape(w)[0];
        let dprobs = b.matmul(dpooled, x, false, true)?;
        let weighted = b.mul(probs, dprobs)?;
        let mean = emit::sum_rows(b, weighted)?;
        let mean = emit::spread_rows(b, mean, &[groups, heads, rows])?;
        let above = b.sub(dprobs, mean)?;
        let dscores = b.mul(probs, above)?;
        let dscores = b.affine(dscores, self.scale, 0.0)?;
        let through_values = b.matmul(probs, dpooled, true, false)?;
        let flat = b.transpose(dscores, &[0, 2, 1])?;
        let flat = b.reshape(flat, &[groups * rows, heads])?;
        let through_scores = b.matmul(flat, w, false, false)?;
        let through_scores = b.reshape(through_scores, &[groups, rows, width])?;
        let dx = b.add(through_values, through_scores)?;
        let x = b.reshape(x, &[groups * rows, width])?;
        Ok(Some(vec![dx, b.matmul(flat, x, true, false)?]))
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        // Per group, head and row: four products of the width; mean, difference, two factors.
        let (width, pairs) = (inputs[1].last() as u64, inputs[3].elements() as u64);
        Cost::new(pairs * (8 * width + 5), inputs, outputs)
    }
}
