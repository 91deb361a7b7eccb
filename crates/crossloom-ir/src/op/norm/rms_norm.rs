//! `rms_norm`: rows to root mean square 1, then scaled per column.

use crate::attrs::Attrs;
use crate::grad::GradCx;
use crate::op::spec::OpSpec;
use crate::op::{RmsNormGrad, UnaryKind, check, emit};
use crate::{Builder, Cost, IrError, Real, Tensor, TensorType, Value};

/// `y = x rstd gamma` over the last axis. Operands: `x [.., D]`, `gamma [D]`. Outputs: `y [.., D]`, `rstd [..]` with
/// `rstd = 1 / sqrt(mean(x^2) + eps)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsNorm {
    /// Added to the mean square.
    pub eps: f64,
}

impl OpSpec for RmsNorm {
    const MNEMONICS: &'static [&'static str] = &["rms_norm"];

    fn attrs(&self) -> Attrs {
        Attrs::new().float("eps", self.eps)
    }

    fn from_attrs(_: &str, attrs: &mut Attrs) -> Result<Self, String> {
        Ok(Self { eps: attrs.take_float("eps")? })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        check::count(inputs, &["x", "gamma"])?;
        check::float_rows("x", inputs[0])?;
        check::is_f32("gamma", inputs[1], &[inputs[0].last()])?;
        check::not_negative("eps", self.eps)?;
        Ok(vec![inputs[0].clone(), TensorType::f32(check::lead(inputs[0]))])
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let [x, gamma] = [inputs[0], inputs[1]];
        let d = x.last();
        let rstd: Vec<f64> = (0..x.rows())
            .map(|r| x.row(r).iter().map(|v| v * v).sum::<f64>() / d as f64)
            .map(|mean_square| 1.0 / (mean_square + self.eps).sqrt())
            .collect();
        let y = Tensor::from_fn(x.shape.clone(), |i| x.at(i) * rstd[i / d] * gamma.at(i % d));
        Ok(vec![y, Tensor::from_fn(&x.shape[..x.shape.len() - 1], |r| rstd[r])])
    }

    fn gradient(&self, cx: &mut GradCx<'_>) -> Result<(), IrError> {
        if cx.out_grad(1).is_some() {
            cx.expand_first();
            return Ok(());
        }
        let Some(dy) = cx.out_grad(0) else { return Ok(()) };
        let operands = [dy, cx.input(0), cx.input(1), cx.output(1)];
        let grads = cx.builder().push(RmsNormGrad { residual: false }, &operands)?;
        cx.add(0, grads[0])?;
        cx.add(1, grads[1])
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let x = inputs[0];
        let shape = b.func().shape(x).to_vec();
        let squares = b.mul(x, x)?;
        let mean = emit::mean_rows(b, squares)?;
        let shifted = b.affine(mean, 1.0, self.eps)?;
        let rstd = b.unary(UnaryKind::Rsqrt, shifted)?;
        let spread = emit::spread_rows(b, rstd, &shape)?;
        let normal = b.mul(x, spread)?;
        let gamma = emit::spread_vector(b, inputs[1], &shape)?;
        Ok(Some(vec![b.mul(normal, gamma)?, rstd]))
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        Cost::new(4 * inputs[0].elements() as u64, inputs, outputs)
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        vec![(0, 0)]
    }
}
