//! Checks that type rules share, and the words in which they complain.

use super::spec::ensure;
use crate::{DType, TensorType};

/// Checks the number of operands; `names` lists them in order.
pub(super) fn count(inputs: &[&TensorType], names: &[&str]) -> Result<(), String> {
    ensure(inputs.len() == names.len(), || {
        format!("takes {} operands ({}), {} were given", names.len(), names.join(", "), inputs.len())
    })
}

/// Checks that an operand has exactly that type.
pub(super) fn is(name: &str, ty: &TensorType, wanted: &TensorType) -> Result<(), String> {
    ensure(ty == wanted, || format!("{name} is {ty}, must be {wanted}"))
}

/// Checks that an operand is a float tensor of that shape.
pub(super) fn is_f32(name: &str, ty: &TensorType, shape: &[usize]) -> Result<(), String> {
    is(name, ty, &TensorType::f32(shape))
}

/// Checks that an operand holds floats.
pub(super) fn float(name: &str, ty: &TensorType) -> Result<(), String> {
    ensure(ty.dtype == DType::F32, || format!("{name} is {ty}, must hold floats"))
}

/// Checks that an operand holds whole numbers.
pub(super) fn whole(name: &str, ty: &TensorType) -> Result<(), String> {
    ensure(ty.dtype == DType::I32, || format!("{name} is {ty}, must hold whole numbers (i32)"))
}

/// Checks that an operand holds whole numbers of any width.
pub(super) fn integer(name: &str, ty: &TensorType) -> Result<(), String> {
    ensure(ty.dtype.is_integer(), || format!("{name} is {ty}, must hold whole numbers"))
}

/// Checks that an operand holds floats under that many axes.
pub(super) fn float_axes(name: &str, ty: &TensorType, axes: usize) -> Result<(), String> {
    ensure(ty.dtype == DType::F32 && ty.rank() == axes, || {
        format!("{name} is {ty}, must hold floats under {axes} axes")
    })
}

/// Checks that an operand holds whole numbers under that many axes.
pub(super) fn whole_axes(name: &str, ty: &TensorType, axes: usize) -> Result<(), String> {
    ensure(ty.dtype == DType::I32 && ty.rank() == axes, || {
        format!("{name} is {ty}, must hold whole numbers (i32) under {axes} axes")
    })
}

/// Checks that an operand consists of float rows that are not empty.
pub(super) fn float_rows(name: &str, ty: &TensorType) -> Result<(), String> {
    ensure(ty.dtype == DType::F32 && ty.rank() >= 1 && ty.last() > 0, || {
        format!("{name} is {ty}, must hold floats under a last axis that is not empty")
    })
}

/// Checks that an attribute is a finite number that is not negative.
pub(super) fn not_negative(name: &str, value: f64) -> Result<(), String> {
    ensure(value.is_finite() && value >= 0.0, || {
        format!("attribute `{name}` is {value}, must not be negative")
    })
}

/// All axes but the last.
pub(super) fn lead(ty: &TensorType) -> &[usize] {
    ty.shape.split_last().map_or(&[], |(_, lead)| lead)
}
