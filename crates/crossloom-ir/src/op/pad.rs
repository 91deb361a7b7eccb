//! `pad`: zeros before and after along one axis.

use super::spec::{OpSpec, ensure, operands};
use crate::attrs::Attrs;
use crate::grad::GradCx;
use crate::interp::{coordinates, strides};
use crate::{Cost, DType, IrError, Real, Tensor, TensorType};

/// `before` zeros, the operand, `after` zeros along `axis`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pad {
    /// The axis that grows.
    pub axis: usize,
    /// Zeros in front.
    pub before: usize,
    /// Zeros behind.
    pub after: usize,
}

impl OpSpec for Pad {
    const MNEMONICS: &'static [&'static str] = &["pad"];

    fn attrs(&self) -> Attrs {
        Attrs::new().int("axis", self.axis).int("before", self.before).int("after", self.after)
    }

    fn from_attrs(_: &str, attrs: &mut Attrs) -> Result<Self, String> {
        Ok(Self {
            axis: attrs.take_int("axis")?,
            before: attrs.take_int("before")?,
            after: attrs.take_int("after")?,
        })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        let [x] = operands(inputs)?;
        ensure(x.dtype == DType::F32 && self.axis < x.rank(), || {
            format!("cannot pad axis {} of {x}", self.axis)
        })?;
        let mut shape = x.shape.clone();
        shape[self.axis] += self.before + self.after;
        Ok(vec![TensorType::f32(shape)])
    }

    fn moves(&self) -> bool {
        true
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let x = inputs[0];
        let mut shape = x.shape.clone();
        shape[self.axis] += self.before + self.after;
        let in_strides = strides(&x.shape);
        let inside = self.before..self.before + x.shape[self.axis];
        let value = |i| {
            let mut at = coordinates(i, &shape);
            if !inside.contains(&at[self.axis]) {
                return 0.0;
            }
            at[self.axis] -= self.before;
            x.at(at.iter().zip(&in_strides).map(|(c, s)| c * s).sum())
        };
        Ok(vec![Tensor::from_fn(shape.clone(), value)])
    }

    fn gradient(&self, cx: &mut GradCx<'_>) -> Result<(), IrError> {
        let Some(dy) = cx.out_grad(0) else { return Ok(()) };
        let len = cx.func().shape(cx.input(0))[self.axis];
        cx.add_with(0, |b| b.slice(dy, self.axis, self.before, len))
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        Cost::new(0, inputs, outputs)
    }
}
