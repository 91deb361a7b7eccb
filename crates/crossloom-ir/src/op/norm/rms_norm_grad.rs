//! `rms_norm_grad`: RMS norm backwards, with the residual stream's gradient added in the same sweep.

use crate::attrs::Attrs;
use crate::op::spec::OpSpec;
use crate::op::{check, emit};
use crate::{Builder, Cost, IrError, Real, Tensor, TensorType, Value};

/// Gradients of `rms_norm`. Operands: `dy [.., D]`, `x [.., D]`, `gamma [D]`, `rstd [..]` and, if `residual`,
/// `ds [.., D]`. Outputs: `dx [.., D]` (plus `ds`), `dgamma [D]`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RmsNormGrad {
    /// A gradient that is added to `dx` is given.
    pub residual: bool,
}

impl OpSpec for RmsNormGrad {
    const MNEMONICS: &'static [&'static str] = &["rms_norm_grad"];

    fn attrs(&self) -> Attrs {
        Attrs::new().flag("residual", self.residual)
    }

    fn from_attrs(_: &str, attrs: &mut Attrs) -> Result<Self, String> {
        Ok(Self { residual: attrs.take_flag("residual")? })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        let names = ["dy", "x", "gamma", "rstd", "ds"];
        check::count(inputs, &names[..4 + usize::from(self.residual)])?;
        let dy = inputs[0];
        check::float_rows("dy", dy)?;
        check::is("x", inputs[1], dy)?;
        check::is_f32("gamma", inputs[2], &[dy.last()])?;
        check::is_f32("rstd", inputs[3], check::lead(dy))?;
        if self.residual {
            check::is("ds", inputs[4], dy)?;
        }
        Ok(vec![dy.clone(), inputs[2].clone()])
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let [dy, x, gamma, rstd] = [inputs[0], inputs[1], inputs[2], inputs[3]];
        let d = x.last();
        let mut dx = vec![0.0; x.data.len()];
        let mut dgamma = vec![0.0; d];
        for r in 0..x.rows() {
            let normal = |c: usize| x.at(r * d + c) * rstd.at(r);
            let slope = |c: usize| dy.at(r * d + c) * gamma.at(c);
            let mean_product = (0..d).map(|c| slope(c) * normal(c)).sum::<f64>() / d as f64;
            for c in 0..d {
                dx[r * d + c] = rstd.at(r) * (slope(c) - normal(c) * mean_product);
                if self.residual {
                    dx[r * d + c] += inputs[4].at(r * d + c);
                }
                dgamma[c] += dy.at(r * d + c) * normal(c);
            }
        }
        Ok(vec![Tensor::from_fn(x.shape.clone(), |i| dx[i]), Tensor::from_fn([d], |c| dgamma[c])])
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let (dy, x) = (inputs[0], inputs[1]);
        let shape = b.func().shape(x).to_vec();
        let rstd = emit::spread_rows(b, inputs[3], &shape)?;
        let normal = b.mul(x, rstd)?;
        let gamma = emit::spread_vector(b, inputs[2], &shape)?;
        let slope = b.mul(dy, gamma)?;
        let product = b.mul(slope, normal)?;
        let mean_product = emit::mean_rows(b, product)?;
        let mean_product = emit::spread_rows(b, mean_product, &shape)?;
        let along = b.mul(normal, mean_product)?;
        let inner = b.sub(slope, along)?;
        let mut dx = b.mul(inner, rstd)?;
        if self.residual {
            dx = b.add(dx, inputs[4])?;
        }
        let weighted = b.mul(dy, normal)?;
        Ok(Some(vec![dx, emit::sum_lead(b, weighted)?]))
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        // Normalize 1, slope 1, mean 2, dx 3, dgamma 2 per element.
        Cost::new((9 + u64::from(self.residual)) * inputs[0].elements() as u64, inputs, outputs)
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        if self.residual { vec![(4, 0)] } else { Vec::new() }
    }
}
