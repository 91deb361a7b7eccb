//! Layer norm and RMS norm over the last dimension, alone or fused with the residual addition before them.
//!
//! A row is read into the first-level cache once. Gradients of the gains are summed per fixed block of rows into the
//! scratch and then over the blocks in order.

mod layer;
mod rms;

pub use layer::{add_layer_norm, layer_norm, layer_norm_grad};
pub use rms::{add_rms_norm, rms_norm, rms_norm_grad};

use super::error::{KernelError, need};
use crate::simd::{Simd, map2, update1};

/// A gradient that reaches the normalised sum from elsewhere (the residual stream) and is added to the norm's own.
#[derive(Debug, Clone, Copy)]
pub enum Incoming<'a> {
    /// There is none.
    None,
    /// It is given, `[rows, cols]`.
    Add(&'a [f32]),
    /// The output buffer holds it before.
    Held,
}

impl<'a> Incoming<'a> {
    /// Checks the length.
    fn check(&self, name: &'static str, len: usize) -> Result<(), KernelError> {
        match self {
            Self::Add(d) => need(name, "d_sum", d.len(), len),
            Self::None | Self::Held => Ok(()),
        }
    }

    /// The part for some values.
    #[inline(always)]
    fn rows(&self, range: std::ops::Range<usize>) -> Incoming<'a> {
        match *self {
            Self::Add(d) => Incoming::Add(&d[range]),
            other => other,
        }
    }
}

/// `sum = x + residual`, or `sum += residual` where `sum` holds `x` already.
#[inline(always)]
fn add_row<'a, S: Simd>(s: S, x: Option<&[f32]>, residual: &[f32], sum: &'a mut [f32]) -> &'a [f32] {
    match x {
        Some(x) => map2!(s, x, residual, sum, |x, r| x + r),
        None => update1!(s, residual, sum, |r, x| x + r),
    }
    sum
}

/// Rows of one task: about 16,384 values.
pub(super) fn rows_per_task(cols: usize) -> usize {
    (16_384 / cols.max(1)).max(1)
}

/// The number of scratch values that [`layer_norm_grad`] (`vectors = 2`) or [`rms_norm_grad`] (`vectors = 1`) need
/// for `rows` rows of `cols` values.
pub fn norm_grad_scratch_len(rows: usize, cols: usize, vectors: usize) -> usize {
    rows.div_ceil(rows_per_task(cols)) * vectors * cols
}
