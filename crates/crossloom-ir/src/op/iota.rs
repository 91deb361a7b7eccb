//! `iota`: the coordinate along one axis.

use super::spec::{OpSpec, ensure, operands};
use crate::attrs::Attrs;
use crate::grad::GradCx;
use crate::interp::coordinates;
use crate::{Cost, IrError, Real, Tensor, TensorType};

/// A float tensor whose element is its own coordinate along `axis`.
#[derive(Clone, Debug, PartialEq)]
pub struct Iota {
    /// The shape.
    pub shape: Vec<usize>,
    /// The axis that is counted.
    pub axis: usize,
}

impl OpSpec for Iota {
    const MNEMONICS: &'static [&'static str] = &["iota"];

    fn attrs(&self) -> Attrs {
        Attrs::new().ints("shape", &self.shape).int("axis", self.axis)
    }

    fn from_attrs(_: &str, attrs: &mut Attrs) -> Result<Self, String> {
        Ok(Self { shape: attrs.take_ints("shape")?, axis: attrs.take_int("axis")? })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        let [] = operands(inputs)?;
        ensure(self.axis < self.shape.len(), || {
            format!("axis {} of a rank-{} shape", self.axis, self.shape.len())
        })?;
        Ok(vec![TensorType::f32(self.shape.clone())])
    }

    fn eval<T: Real>(&self, _: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let coordinate = |i| coordinates(i, &self.shape)[self.axis] as f64;
        Ok(vec![Tensor::from_fn(self.shape.clone(), coordinate)])
    }

    fn gradient(&self, _: &mut GradCx<'_>) -> Result<(), IrError> {
        Ok(())
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        Cost::new(0, inputs, outputs)
    }
}
