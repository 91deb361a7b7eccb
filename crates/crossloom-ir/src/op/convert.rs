//! `convert`, `to_float` and `to_int`: the same numbers as another type.

use super::check;
use super::spec::{OpSpec, operands};
use crate::attrs::Attrs;
use crate::grad::GradCx;
use crate::{Cost, DType, IrError, Real, Tensor, TensorType};

/// Floats as floats of another type: the type that the instruction asks for, to which every result is rounded. A
/// primitive. Its gradient is that of the identity, in `f32` as every gradient: rounding counts as no change.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Convert;

/// Whole numbers as floats of the same value (exact below 2^24). A primitive; no gradient flows through it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ToFloat;

/// Floats as whole numbers, the fraction cut off. A primitive; no gradient flows through it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ToInt;

impl OpSpec for Convert {
    const MNEMONICS: &'static [&'static str] = &["convert"];

    fn from_attrs(_: &str, _: &mut Attrs) -> Result<Self, String> {
        Ok(Self)
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        let [x] = operands(inputs)?;
        check::float("the operand", x)?;
        Ok(vec![x.clone()])
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        Ok(vec![inputs[0].clone()])
    }

    fn gradient(&self, cx: &mut GradCx<'_>) -> Result<(), IrError> {
        let Some(dy) = cx.out_grad(0) else { return Ok(()) };
        cx.add(0, dy)
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        Cost::new(0, inputs, outputs)
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        vec![(0, 0)]
    }
}

impl OpSpec for ToFloat {
    const MNEMONICS: &'static [&'static str] = &["to_float"];

    fn from_attrs(_: &str, _: &mut Attrs) -> Result<Self, String> {
        Ok(Self)
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        let [x] = operands(inputs)?;
        check::integer("the operand", x)?;
        Ok(vec![TensorType { dtype: DType::F32, shape: x.shape.clone() }])
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        Ok(vec![inputs[0].clone()])
    }

    fn gradient(&self, _: &mut GradCx<'_>) -> Result<(), IrError> {
        Ok(())
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        Cost::new(0, inputs, outputs)
    }
}

impl OpSpec for ToInt {
    const MNEMONICS: &'static [&'static str] = &["to_int"];

    fn from_attrs(_: &str, _: &mut Attrs) -> Result<Self, String> {
        Ok(Self)
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        let [x] = operands(inputs)?;
        check::float("the operand", x)?;
        Ok(vec![TensorType { dtype: DType::I32, shape: x.shape.clone() }])
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let x = inputs[0];
        let range = f64::from(i32::MIN)..=f64::from(i32::MAX);
        if let Some(i) = (0..x.data.len()).find(|&i| !range.contains(&x.at(i).trunc())) {
            return Err(format!("{} is not representable as a whole number", x.at(i)));
        }
        Ok(vec![Tensor::from_fn(x.shape.clone(), |i| x.at(i).trunc())])
    }

    fn gradient(&self, _: &mut GradCx<'_>) -> Result<(), IrError> {
        Ok(())
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        Cost::new(0, inputs, outputs)
    }
}
