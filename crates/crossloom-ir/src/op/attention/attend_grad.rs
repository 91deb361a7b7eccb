//! `attention_grad`: attention backwards from the stored log-sum-exp.

use super::Attention;
use super::heads::{self, Extents};
use crate::attrs::Attrs;
use crate::op::spec::OpSpec;
use crate::op::{check, emit};
use crate::{Builder, Cost, IrError, Real, Tensor, TensorType, Value};

/// Gradients of the [`Attention`] it holds. Operands: `do`, `q`, `k`, `v`, `o`, `lse` and, with segments, `segments`.
/// Outputs: `dq`, `dk`, `dv`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionGrad(pub Attention);

impl OpSpec for AttentionGrad {
    const MNEMONICS: &'static [&'static str] = &["attention_grad"];

    fn attrs(&self) -> Attrs {
        self.0.attrs()
    }

    fn from_attrs(mnemonic: &str, attrs: &mut Attrs) -> Result<Self, String> {
        Attention::from_attrs(mnemonic, attrs).map(Self)
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        let names = ["do", "q", "k", "v", "o", "lse", "segments"];
        check::count(inputs, &names[..6 + usize::from(self.0.segments)])?;
        let mut forward = inputs[1..4].to_vec();
        forward.extend(inputs.get(6));
        let outputs = self.0.infer(&forward)?;
        check::is("do", inputs[0], &outputs[0])?;
        check::is("o", inputs[4], &outputs[0])?;
        check::is("lse", inputs[5], &outputs[1])?;
        Ok(inputs[1..4].iter().map(|&ty| ty.clone()).collect())
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let [grad, q, k, v, o, lse] = [inputs[0], inputs[1], inputs[2], inputs[3], inputs[4], inputs[5]];
        let x = Extents::new(&q.shape, &k.shape, self.0.heads, self.0.kv_heads);
        let scale = self.0.scale;
        let mut dq = vec![0.0; q.data.len()];
        let (mut dk, mut dv) = (vec![0.0; k.data.len()], vec![0.0; v.data.len()]);
        for (sample, head, t) in x.each_query() {
            let row = x.query_at(sample, t, head);
            let dot = |a: &Tensor<T>, at_a: usize, b: &Tensor<T>, at_b: usize| -> f64 {
                (0..x.width).map(|c| a.at(at_a + c) * b.at(at_b + c)).sum()
            };
            let delta = dot(grad, row, o, row);
            for s in self.0.visible(&x, inputs.get(6).copied(), sample, t) {
                let key = x.key_at(sample, s, head);
                let at_lse = (sample * x.heads + head) * x.queries + t;
                let weight = (scale * dot(q, row, k, key) - lse.at(at_lse)).exp();
                let dscore = scale * weight * (dot(grad, row, v, key) - delta);
                for c in 0..x.width {
                    dq[row + c] += dscore * k.at(key + c);
                    dk[key + c] += dscore * q.at(row + c);
                    dv[key + c] += weight * grad.at(row + c);
                }
            }
        }
        Ok(vec![
            Tensor::from_fn(q.shape.clone(), |i| dq[i]),
            Tensor::from_fn(k.shape.clone(), |i| dk[i]),
            Tensor::from_fn(v.shape.clone(), |i| dv[i]),
        ])
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let (heads, kv_heads) = (self.0.heads, self.0.kv_heads);
        let x = Extents::new(b.func().shape(inputs[1]), b.func().shape(inputs[2]), heads, kv_heads);
        let grad = heads::split(b, inputs[0], heads)?;
        let q = heads::split(b, inputs[1], heads)?;
        let k = heads::split_shared(b, inputs[2], &x)?;
        let v = heads::split_shared(b, inputs[3], &x)?;
        let o = heads::split(b, inputs[4], heads)?;
        let scores = b.matmul(q, k, false, true)?;
        let scores = b.affine(scores, self.0.scale, 0.0)?;
        let scores = self.0.mask_scores(b, &x, scores, inputs.get(6).copied())?;
        let shape = b.func().shape(scores).to_vec();
        let lse = b.reshape(inputs[5], &shape[..2])?;
        let lse = emit::spread_rows(b, lse, &shape)?;
        let shifted = b.sub(scores, lse)?;
        let weights = b.exp(shifted)?;
        let product = b.mul(grad, o)?;
        let delta = emit::sum_rows(b, product)?;
        let delta = emit::spread_rows(b, delta, &shape)?;
        let dweights = b.matmul(grad, v, false, true)?;
        let above = b.sub(dweights, delta)?;
        let dscores = b.mul(weights, above)?;
        let dscores = b.affine(dscores, self.0.scale, 0.0)?;
        let dq = b.matmul(dscores, k, false, false)?;
        let dk = b.matmul(dscores, q, true, false)?;
        let dv = b.matmul(weights, grad, true, false)?;
        Ok(Some(vec![
            heads::merge(b, dq, x.heads)?,
            heads::merge_shared(b, dk, &x)?,
            heads::merge_shared(b, dv, &x)?,
        ]))
    }

    /// Counts pairs as the forward op does.
    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        let x = Extents::new(&inputs[1].shape, &inputs[2].shape, self.0.heads, self.0.kv_heads);
        // Five products of the head width; scale, subtraction, exponential, and two factors and a subtraction.
        let per_pair = 10 * x.width as u64 + 6;
        let flops =
            (x.samples * x.heads) as u64 * self.0.pairs(&x) * per_pair + 2 * inputs[0].elements() as u64;
        Cost::new(flops, inputs, outputs)
    }
}
