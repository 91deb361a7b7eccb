//! `adamw`: one step of Adam with decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101).

use crate::attrs::Attrs;
use crate::grad::GradCx;
use crate::op::spec::{OpSpec, ensure};
use crate::op::{UnaryKind, check, emit};
use crate::{Builder, Cost, IrError, Real, Tensor, TensorType, Value};

/// Operands: parameter `p`, gradient `g`, first moment `m`, second moment `v`, all of one shape; `hyper [3]` = (learning
/// rate, `1 / (1 - beta1^t)`, `1 / (1 - beta2^t)`); `scale []`, by which the gradient is multiplied first (clipping).
/// Outputs: `p'`, `m'`, `v'` with
/// `m' = beta1 m + (1 - beta1) g`, `v' = beta2 v + (1 - beta2) g^2`,
/// `p' = p - lr (m' c1 / (sqrt(v' c2) + eps) + weight_decay p)`.
///
/// A `scale` that is not finite changes nothing: `p' = p`, `m' = m`, `v' = v`, whatever `g` holds. The expansion does
/// not have this, because no sum or product of primitives passes by a NaN; a backend must have a kernel for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Share of the parameter that is taken off per unit of learning rate.
    pub weight_decay: f64,
}

impl OpSpec for AdamW {
    const MNEMONICS: &'static [&'static str] = &["adamw"];

    fn attrs(&self) -> Attrs {
        let attrs = Attrs::new().float("beta1", self.beta1).float("beta2", self.beta2);
        attrs.float("eps", self.eps).float("weight_decay", self.weight_decay)
    }

    fn from_attrs(_: &str, attrs: &mut Attrs) -> Result<Self, String> {
        Ok(Self {
            beta1: attrs.take_float("beta1")?,
            beta2: attrs.take_float("beta2")?,
            eps: attrs.take_float("eps")?,
            weight_decay: attrs.take_float("weight_decay")?,
        })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        check::count(inputs, &["p", "g", "m", "v", "hyper", "scale"])?;
        let p = inputs[0];
        check::float("p", p)?;
        for (name, ty) in ["g", "m", "v"].into_iter().zip(&inputs[1..4]) {
            check::is(name, ty, p)?;
        }
        check::is_f32("hyper", inputs[4], &[3])?;
        check::is_f32("scale", inputs[5], &[])?;
        for (name, beta) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            ensure((0.0..1.0).contains(&beta), || {
                format!("attribute `{name}` is {beta}, must be at least 0 and below 1")
            })?;
        }
        check::not_negative("eps", self.eps)?;
        check::not_negative("weight_decay", self.weight_decay)?;
        Ok(vec![p.clone(); 3])
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let [p, g, m, v, hyper, scale] = [inputs[0], inputs[1], inputs[2], inputs[3], inputs[4], inputs[5]];
        if !scale.at(0).is_finite() {
            return Ok(vec![p.clone(), m.clone(), v.clone()]);
        }
        let (rate, correction1, correction2) = (hyper.at(0), hyper.at(1), hyper.at(2));
        let gradient = |i: usize| g.at(i) * scale.at(0);
        let first = |i: usize| self.beta1 * m.at(i) + (1.0 - self.beta1) * gradient(i);
        let second = |i: usize| self.beta2 * v.at(i) + (1.0 - self.beta2) * gradient(i) * gradient(i);
        let parameter = |i: usize| {
            let step = first(i) * correction1 / ((second(i) * correction2).sqrt() + self.eps);
            p.at(i) - rate * (step + self.weight_decay * p.at(i))
        };
        let shape = || p.shape.clone();
        Ok(vec![
            Tensor::from_fn(shape(), parameter),
            Tensor::from_fn(shape(), first),
            Tensor::from_fn(shape(), second),
        ])
    }

    fn gradient(&self, _: &mut GradCx<'_>) -> Result<(), IrError> {
        Err(IrError::new("has no gradient: nothing may be differentiated through the optimizer"))
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let [p, m, v] = [inputs[0], inputs[2], inputs[3]];
        let shape = b.func().shape(p).to_vec();
        let mut hyper = Vec::new();
        for i in 0..3 {
            let number = b.slice(inputs[4], 0, i, 1)?;
            let number = b.reshape(number, &[])?;
            hyper.push(emit::spread_scalar(b, number, &shape)?);
        }
        let scale = emit::spread_scalar(b, inputs[5], &shape)?;
        let g = b.mul(inputs[1], scale)?;
        let old = b.affine(m, self.beta1, 0.0)?;
        let new = b.affine(g, 1.0 - self.beta1, 0.0)?;
        let m = b.add(old, new)?;
        let square = b.mul(g, g)?;
        let old = b.affine(v, self.beta2, 0.0)?;
        let new = b.affine(square, 1.0 - self.beta2, 0.0)?;
        let v = b.add(old, new)?;
        let unbiased = b.mul(v, hyper[2])?;
        let root = b.unary(UnaryKind::Sqrt, unbiased)?;
        let divisor = b.affine(root, 1.0, self.eps)?;
        let unbiased = b.mul(m, hyper[1])?;
        let step = b.div(unbiased, divisor)?;
        let decay = b.affine(p, self.weight_decay, 0.0)?;
        let step = b.add(step, decay)?;
        let step = b.mul(hyper[0], step)?;
        Ok(Some(vec![b.sub(p, step)?, m, v]))
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        // Clip 1, moments 3 + 4, corrections 2, root 1, eps 1, quotient 1, decay 2, step 2.
        Cost::new(17 * inputs[0].elements() as u64, inputs, outputs)
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        vec![(0, 0), (2, 1), (3, 2)]
    }
}
