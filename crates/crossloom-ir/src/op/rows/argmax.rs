//! `argmax`: where each row is largest.

use crate::attrs::Attrs;
use crate::grad::GradCx;
use crate::op::spec::OpSpec;
use crate::op::{Iota, ToInt, check, emit};
use crate::{Builder, Cost, IrError, Real, Tensor, TensorType, Value};

/// The coordinate of the largest element along the last axis of `x [.., V]`, the first of equal ones, as `i32 [..]`.
/// No gradient flows through it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Argmax;

impl OpSpec for Argmax {
    const MNEMONICS: &'static [&'static str] = &["argmax"];

    fn from_attrs(_: &str, _: &mut Attrs) -> Result<Self, String> {
        Ok(Self)
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        check::count(inputs, &["x"])?;
        check::float_rows("x", inputs[0])?;
        Ok(vec![TensorType::i32(check::lead(inputs[0]))])
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let x = inputs[0];
        let first_largest = |r: usize| {
            let row = x.row(r);
            (1..row.len()).fold(0, |best, c| if row[c] > row[best] { c } else { best }) as f64
        };
        Ok(vec![Tensor::from_fn(&x.shape[..x.shape.len() - 1], first_largest)])
    }

    fn gradient(&self, _: &mut GradCx<'_>) -> Result<(), IrError> {
        Ok(())
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let x = inputs[0];
        let shape = b.func().shape(x).to_vec();
        let axis = shape.len() - 1;
        let width = shape[axis] as f64;
        let largest = b.reduce_max(x, &[axis])?;
        let largest = emit::spread_rows(b, largest, &shape)?;
        let below = emit::less(b, x, largest)?;
        // Coordinates where the maximum is attained, pushed beyond the row elsewhere; the smallest is the answer.
        let coordinate = b.one(Iota { shape: shape.clone(), axis }, &[])?;
        let beyond = b.affine(below, width, 0.0)?;
        let candidates = b.add(coordinate, beyond)?;
        let mirrored = b.neg(candidates)?;
        let smallest = b.reduce_max(mirrored, &[axis])?;
        let smallest = b.neg(smallest)?;
        Ok(Some(vec![b.one(ToInt, &[smallest])?]))
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        Cost::new(inputs[0].elements() as u64, inputs, outputs)
    }
}
