//! `constant`: one number everywhere.

use super::spec::{OpSpec, operands};
use crate::attrs::Attrs;
use crate::grad::GradCx;
use crate::{Cost, IrError, Real, Tensor, TensorType};

/// A float tensor filled with one number.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    /// The number.
    pub value: f64,
    /// The shape.
    pub shape: Vec<usize>,
}

impl OpSpec for Constant {
    const MNEMONICS: &'static [&'static str] = &["constant"];

    fn attrs(&self) -> Attrs {
        Attrs::new().float("value", self.value).ints("shape", &self.shape)
    }

    fn from_attrs(_: &str, attrs: &mut Attrs) -> Result<Self, String> {
        Ok(Self { value: attrs.take_float("value")?, shape: attrs.take_ints("shape")? })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        let [] = operands(inputs)?;
        Ok(vec![TensorType::f32(self.shape.clone())])
    }

    fn eval<T: Real>(&self, _: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        Ok(vec![Tensor::splat(self.shape.clone(), self.value)])
    }

    fn gradient(&self, _: &mut GradCx<'_>) -> Result<(), IrError> {
        Ok(())
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        Cost::new(0, inputs, outputs)
    }
}
