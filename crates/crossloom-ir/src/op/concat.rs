//! `concat`: one operand after the other along an axis.

use super::spec::{OpSpec, ensure};
use crate::attrs::Attrs;
use crate::grad::GradCx;
use crate::interp::{coordinates, strides};
use crate::{Builder, Cost, IrError, Real, Tensor, TensorType, Value};

/// Operands of equal shape but for `axis`, joined along it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Concat {
    /// The axis that grows.
    pub axis: usize,
}

impl OpSpec for Concat {
    const MNEMONICS: &'static [&'static str] = &["concat"];

    fn attrs(&self) -> Attrs {
        Attrs::new().int("axis", self.axis)
    }

    fn from_attrs(_: &str, attrs: &mut Attrs) -> Result<Self, String> {
        Ok(Self { axis: attrs.take_int("axis")? })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        let (first, rest) = inputs.split_first().ok_or("takes at least one operand")?;
        ensure(self.axis < first.rank(), || format!("axis {} of {first}", self.axis))?;
        let mut shape = first.shape.clone();
        for other in rest {
            let mut expected = first.shape.clone();
            expected[self.axis] = other.shape.get(self.axis).copied().unwrap_or(0);
            ensure(other.dtype == first.dtype && other.shape == expected, || {
                format!("{other} does not join {first} along axis {}", self.axis)
            })?;
            shape[self.axis] += expected[self.axis];
        }
        Ok(vec![TensorType { dtype: first.dtype, shape }])
    }

    fn moves(&self) -> bool {
        true
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let mut shape = inputs[0].shape.clone();
        shape[self.axis] = inputs.iter().map(|x| x.shape[self.axis]).sum();
        let value = |i| {
            let mut at = coordinates(i, &shape);
            for x in inputs {
                if at[self.axis] < x.shape[self.axis] {
                    return x.at(at.iter().zip(strides(&x.shape)).map(|(c, s)| c * s).sum());
                }
                at[self.axis] -= x.shape[self.axis];
            }
            0.0
        };
        Ok(vec![Tensor::from_fn(shape.clone(), value)])
    }

    fn gradient(&self, cx: &mut GradCx<'_>) -> Result<(), IrError> {
        let Some(dy) = cx.out_grad(0) else { return Ok(()) };
        let mut start = 0;
        for i in 0..cx.input_count() {
            let len = cx.func().shape(cx.input(i))[self.axis];
            cx.add_with(i, |b| b.slice(dy, self.axis, start, len))?;
            start += len;
        }
        Ok(())
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let extents: Vec<usize> = inputs.iter().map(|&x| b.func().shape(x)[self.axis]).collect();
        let total: usize = extents.iter().sum();
        let mut start = 0;
        let mut sum: Option<Value> = None;
        for (&x, &extent) in inputs.iter().zip(&extents) {
            let padded = b.pad(x, self.axis, start, total - start - extent)?;
            sum = Some(match sum {
                None => padded,
                Some(sum) => b.add(sum, padded)?,
            });
            start += extent;
        }
        Ok(sum.map(|sum| vec![sum]))
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        Cost::new(0, inputs, outputs)
    }
}
