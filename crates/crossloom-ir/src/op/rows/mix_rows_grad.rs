//! `mix_rows_grad`: the gradient of rows from that of the tokens that they are mixed into.

use super::mix_rows::{check_parts, extents, parts, reading};
use crate::attrs::Attrs;
use crate::grad::GradCx;
use crate::op::spec::{OpSpec, ensure};
use crate::op::{MixRows, check};
use crate::{Builder, Cost, IrError, Real, Tensor, TensorType, Value};

/// Operands: `dy [K, B, N, D]`, and `rows` and `weights` `[B, N, P]` of `mix_rows`. Outputs: `dfeatures [K, R, D]`, of which row `r` is the
/// sum of `weights[b, n, p] dy[k, b, n]` over the parts that name it, and `dend [D]`, the same of row `R`, summed over the taps.
/// Parts are added in their order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MixRowsGrad {
    /// Rows of a tap's features, `R`.
    pub rows: usize,
}

impl OpSpec for MixRowsGrad {
    const MNEMONICS: &'static [&'static str] = &["mix_rows_grad"];

    fn attrs(&self) -> Attrs {
        Attrs::new().int("rows", self.rows)
    }

    fn from_attrs(_: &str, attrs: &mut Attrs) -> Result<Self, String> {
        Ok(Self { rows: attrs.take_int("rows")? })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        check::count(inputs, &["dy", "rows", "weights"])?;
        let dy = inputs[0];
        check::float_axes("dy", dy, 4)?;
        let (taps, width) = (dy.shape[0], dy.shape[3]);
        ensure(width > 0, || format!("dy is {dy}, its rows are empty"))?;
        let [samples, tokens] = check_parts(inputs[1], inputs[2])?;
        check::is_f32("dy", dy, &[taps, samples, tokens, width])?;
        Ok(vec![TensorType::f32([taps, self.rows, width]), TensorType::f32([width])])
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let dy = inputs[0];
        let features = [dy.shape[0], self.rows, dy.last()];
        let e = extents(&features, &inputs[1].shape);
        let (mut of_features, mut of_end) = (vec![0.0; e.taps * e.rows * e.width], vec![0.0; e.width]);
        let parts = parts(e, inputs[1], inputs[2])?;
        for tap in 0..e.taps {
            for &(token, row, weight) in &parts {
                for c in 0..e.width {
                    let grad = weight * dy.at((tap * e.tokens + token) * e.width + c);
                    if row == e.rows {
                        of_end[c] += grad;
                    } else {
                        of_features[(tap * e.rows + row) * e.width + c] += grad;
                    }
                }
            }
        }
        Ok(vec![Tensor::from_fn(features, |i| of_features[i]), Tensor::from_fn([e.width], |i| of_end[i])])
    }

    fn gradient(&self, cx: &mut GradCx<'_>) -> Result<(), IrError> {
        if cx.wants(2) {
            cx.expand_first();
            return Ok(());
        }
        let (features, end) = (cx.out_grad_or_zeros(0)?, cx.out_grad_or_zeros(1)?);
        let (rows, weights) = (cx.input(1), cx.input(2));
        cx.add_with(0, |b| b.one(MixRows, &[features, end, rows, weights]))
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let [dy, rows, weights] = [inputs[0], inputs[1], inputs[2]];
        let features = [b.func().shape(dy)[0], self.rows, b.func().ty(dy).last()];
        let e = extents(&features, b.func().shape(rows));
        let reading = reading(b, e, rows, weights)?;
        let dy = b.reshape(dy, &[e.taps, e.tokens, e.width])?;
        let all = b.matmul(reading, dy, true, false)?;
        let of_features = b.slice(all, 1, 0, e.rows)?;
        let of_end = b.slice(all, 1, e.rows, 1)?;
        let of_end = b.reduce_sum(of_end, &[0, 1])?;
        Ok(Some(vec![of_features, b.reshape(of_end, &[e.width])?]))
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        let flops = 2 * inputs[0].elements() as u64 * inputs[1].last() as u64;
        Cost::new(flops, inputs, outputs)
    }
}
