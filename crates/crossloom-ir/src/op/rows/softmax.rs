//! `softmax`: rows to probabilities.

use crate::attrs::Attrs;
use crate::grad::GradCx;
use crate::op::spec::OpSpec;
use crate::op::{check, emit};
use crate::{Builder, Cost, IrError, Real, Tensor, TensorType, Value};

/// `y = exp(x) / sum exp(x)` over the last axis of `x [.., D]`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Softmax;

impl OpSpec for Softmax {
    const MNEMONICS: &'static [&'static str] = &["softmax"];

    fn from_attrs(_: &str, _: &mut Attrs) -> Result<Self, String> {
        Ok(Self)
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        check::count(inputs, &["x"])?;
        check::float_rows("x", inputs[0])?;
        Ok(vec![inputs[0].clone()])
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let x = inputs[0];
        let y: Vec<f64> = (0..x.rows()).flat_map(|r| softmax(&x.row(r))).collect();
        Ok(vec![Tensor::from_fn(x.shape.clone(), |i| y[i])])
    }

    fn gradient(&self, cx: &mut GradCx<'_>) -> Result<(), IrError> {
        let y = cx.output(0);
        let Some(dy) = cx.out_grad(0) else { return Ok(()) };
        let shape = cx.func().shape(y).to_vec();
        cx.add_with(0, |b| {
            let product = b.mul(y, dy)?;
            let sum = emit::sum_rows(b, product)?;
            let spread = emit::spread_rows(b, sum, &shape)?;
            let along = b.mul(y, spread)?;
            b.sub(product, along)
        })
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let shape = b.func().shape(inputs[0]).to_vec();
        let (powers, sum, _) = emit::exp_rows(b, inputs[0])?;
        let spread = emit::spread_rows(b, sum, &shape)?;
        Ok(Some(vec![b.div(powers, spread)?]))
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        // Maximum, subtraction, exponential, sum, division.
        Cost::new(5 * inputs[0].elements() as u64, inputs, outputs)
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        vec![(0, 0)]
    }
}

/// Probabilities of a row of scores; nothing for an empty row.
pub(in crate::op) fn softmax(scores: &[f64]) -> Vec<f64> {
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = scores.iter().map(|s| (s - largest).exp()).sum();
    scores.iter().map(|s| (s - largest).exp() / sum).collect()
}
