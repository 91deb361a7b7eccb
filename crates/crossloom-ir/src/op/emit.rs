//! Idioms of expansions: short sequences of simpler ops that several definitions share.

use super::{BinaryKind, Iota, ToFloat};
use crate::{Builder, IrError, Value};

type One = Result<Value, IrError>;

/// The score of a pair that softmax must ignore.
pub(super) const FORBIDDEN: f64 = -1e30;

/// Repeats `stat [..]`, one number per row, along the last axis of `shape`.
pub(super) fn spread_rows(b: &mut Builder<'_>, stat: Value, shape: &[usize]) -> One {
    let axes: Vec<usize> = (0..shape.len() - 1).collect();
    b.broadcast(stat, shape, &axes)
}

/// Repeats `vector [D]` for every row of `shape`.
pub(super) fn spread_vector(b: &mut Builder<'_>, vector: Value, shape: &[usize]) -> One {
    b.broadcast(vector, shape, &[shape.len() - 1])
}

/// Repeats a scalar everywhere.
pub(super) fn spread_scalar(b: &mut Builder<'_>, scalar: Value, shape: &[usize]) -> One {
    b.broadcast(scalar, shape, &[])
}

/// Sums over the last axis.
pub(super) fn sum_rows(b: &mut Builder<'_>, x: Value) -> One {
    let axis = b.func().shape(x).len() - 1;
    b.reduce_sum(x, &[axis])
}

/// The mean over the last axis.
pub(super) fn mean_rows(b: &mut Builder<'_>, x: Value) -> One {
    let width = b.func().ty(x).last() as f64;
    let sum = sum_rows(b, x)?;
    b.affine(sum, 1.0 / width, 0.0)
}

/// Sums over all axes but the last.
pub(super) fn sum_lead(b: &mut Builder<'_>, x: Value) -> One {
    let axes: Vec<usize> = (0..b.func().shape(x).len() - 1).collect();
    b.reduce_sum(x, &axes)
}

/// Sums over all axes.
pub(super) fn sum_all(b: &mut Builder<'_>, x: Value) -> One {
    let axes: Vec<usize> = (0..b.func().shape(x).len()).collect();
    b.reduce_sum(x, &axes)
}

/// 1 where `x < y`, else 0.
pub(super) fn less(b: &mut Builder<'_>, x: Value, y: Value) -> One {
    b.binary(BinaryKind::LessThan, x, y)
}

/// `1 - x`.
pub(super) fn complement(b: &mut Builder<'_>, x: Value) -> One {
    b.affine(x, -1.0, 1.0)
}

/// 1 where `x = y`, else 0.
pub(super) fn equal(b: &mut Builder<'_>, x: Value, y: Value) -> One {
    let below = less(b, x, y)?;
    let above = less(b, y, x)?;
    let other = b.add(below, above)?;
    complement(b, other)
}

/// 1 where `x` is that number, else 0.
pub(super) fn equals(b: &mut Builder<'_>, x: Value, number: f64) -> One {
    let shape = b.func().shape(x).to_vec();
    let number = b.constant(number, &shape)?;
    equal(b, x, number)
}

/// 1 where one of two 0/1 masks is 1.
pub(super) fn either(b: &mut Builder<'_>, x: Value, y: Value) -> One {
    let sum = b.add(x, y)?;
    let both = b.mul(x, y)?;
    b.sub(sum, both)
}

/// `m[.., c] = 1` where `ids[..] = c`, for `c` below `classes`; ids outside give a row of zeros.
pub(super) fn one_hot(b: &mut Builder<'_>, ids: Value, classes: usize) -> One {
    let mut shape = b.func().shape(ids).to_vec();
    shape.push(classes);
    let ids = b.one(ToFloat, &[ids])?;
    let ids = spread_rows(b, ids, &shape)?;
    let axis = shape.len() - 1;
    let class = b.one(Iota { shape, axis }, &[])?;
    equal(b, ids, class)
}

/// Row-wise `(exp(x - max), sum of them, max)`.
pub(super) fn exp_rows(b: &mut Builder<'_>, x: Value) -> Result<(Value, Value, Value), IrError> {
    let shape = b.func().shape(x).to_vec();
    let largest = b.reduce_max(x, &[shape.len() - 1])?;
    let spread = spread_rows(b, largest, &shape)?;
    let shifted = b.sub(x, spread)?;
    let powers = b.exp(shifted)?;
    let sum = sum_rows(b, powers)?;
    Ok((powers, sum, largest))
}
