//! `layer_norm`: rows to mean 0 and variance 1, then scaled and shifted per column.

use crate::attrs::Attrs;
use crate::grad::GradCx;
use crate::op::spec::OpSpec;
use crate::op::{LayerNormGrad, UnaryKind, check, emit};
use crate::{Builder, Cost, IrError, Real, Tensor, TensorType, Value};

/// `y = (x - mean) rstd gamma + beta` over the last axis. Operands: `x [.., D]`, `gamma [D]`, `beta [D]`. Outputs:
/// `y [.., D]`, `mean [..]`, `rstd [..]` with `rstd = 1 / sqrt(variance + eps)` and the biased variance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNorm {
    /// Added to the variance.
    pub eps: f64,
}

impl LayerNorm {
    /// Mean and reciprocal standard deviation of one row.
    pub(super) fn statistics(self, row: &[f64]) -> (f64, f64) {
        let mean = row.iter().sum::<f64>() / row.len() as f64;
        let variance = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / row.len() as f64;
        (mean, 1.0 / (variance + self.eps).sqrt())
    }
}

impl OpSpec for LayerNorm {
    const MNEMONICS: &'static [&'static str] = &["layer_norm"];

    fn attrs(&self) -> Attrs {
        Attrs::new().float("eps", self.eps)
    }

    fn from_attrs(_: &str, attrs: &mut Attrs) -> Result<Self, String> {
        Ok(Self { eps: attrs.take_float("eps")? })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        check::count(inputs, &["x", "gamma", "beta"])?;
        let x = inputs[0];
        check::float_rows("x", x)?;
        check::is_f32("gamma", inputs[1], &[x.last()])?;
        check::is_f32("beta", inputs[2], &[x.last()])?;
        check::not_negative("eps", self.eps)?;
        let stat = TensorType::f32(check::lead(x));
        Ok(vec![x.clone(), stat.clone(), stat])
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let [x, gamma, beta] = [inputs[0], inputs[1], inputs[2]];
        let d = x.last();
        let stats: Vec<(f64, f64)> = (0..x.rows()).map(|r| self.statistics(&x.row(r))).collect();
        let y = |i: usize| {
            let (mean, rstd) = stats[i / d];
            (x.at(i) - mean) * rstd * gamma.at(i % d) + beta.at(i % d)
        };
        let lead = &x.shape[..x.shape.len() - 1];
        Ok(vec![
            Tensor::from_fn(x.shape.clone(), y),
            Tensor::from_fn(lead, |r| stats[r].0),
            Tensor::from_fn(lead, |r| stats[r].1),
        ])
    }

    fn gradient(&self, cx: &mut GradCx<'_>) -> Result<(), IrError> {
        if cx.out_grad(1).is_some() || cx.out_grad(2).is_some() {
            cx.expand_first();
            return Ok(());
        }
        let Some(dy) = cx.out_grad(0) else { return Ok(()) };
        let operands = [dy, cx.input(0), cx.input(1), cx.output(1), cx.output(2)];
        let grads = cx.builder().push(LayerNormGrad { residual: false }, &operands)?;
        (0..3).try_for_each(|i| cx.add(i, grads[i]))
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let shape = b.func().shape(inputs[0]).to_vec();
        let mean = emit::mean_rows(b, inputs[0])?;
        let spread = emit::spread_rows(b, mean, &shape)?;
        let centred = b.sub(inputs[0], spread)?;
        let squares = b.mul(centred, centred)?;
        let variance = emit::mean_rows(b, squares)?;
        let shifted = b.affine(variance, 1.0, self.eps)?;
        let rstd = b.unary(UnaryKind::Rsqrt, shifted)?;
        let spread = emit::spread_rows(b, rstd, &shape)?;
        let normal = b.mul(centred, spread)?;
        let gamma = emit::spread_vector(b, inputs[1], &shape)?;
        let beta = emit::spread_vector(b, inputs[2], &shape)?;
        let scaled = b.mul(normal, gamma)?;
        Ok(Some(vec![b.add(scaled, beta)?, mean, rstd]))
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        // Mean 1, variance 3, normalize 2, scale and shift 2 per element.
        Cost::new(8 * inputs[0].elements() as u64, inputs, outputs)
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        vec![(0, 0)]
    }
}
