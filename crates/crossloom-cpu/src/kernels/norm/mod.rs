//! Layer norm and RMS norm over the last dimension, alone or fused with the residual addition before them.
//!
//! Rows are `f32` or `bf16`, the normalised sum of the fused form and all statistics `f32`. A row is read into the first-level cache once. Gradients of the gains are summed per fixed block of rows into the
//! scratch and then over the blocks in order.

mod layer;
mod rms;

pub use layer::{add_layer_norm, layer_norm, layer_norm_grad};
pub use rms::{add_rms_norm, rms_norm, rms_norm_grad};

use super::error::{KernelError, need};
use crate::element::Element;
use crate::parallel::SharedMut;
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

/// What is normalised.
enum Source<'a, X> {
    /// What the output holds before.
    Held,
    /// Given rows.
    Given(&'a [X]),
    /// `sum = x + residual`, where `x` is given or held by `sum`.
    Sum { x: Option<&'a [f32]>, residual: &'a [X], sum: &'a mut [f32] },
}

/// The same, shareable between tasks.
enum SharedSource<'a, X> {
    Held,
    Given(&'a [X]),
    Sum { x: Option<&'a [f32]>, residual: &'a [X], sum: SharedMut<'a> },
}

impl<'a, X> Source<'a, X> {
    /// Checks the lengths, and makes it shareable.
    fn share(self, name: &'static str, len: usize) -> Result<SharedSource<'a, X>, KernelError> {
        Ok(match self {
            Self::Held => SharedSource::Held,
            Self::Given(x) => {
                need(name, "x", x.len(), len)?;
                SharedSource::Given(x)
            }
            Self::Sum { x, residual, sum } => {
                need(name, "x", x.map_or(len, <[f32]>::len), len)?;
                need(name, "residual", residual.len(), len)?;
                need(name, "sum", sum.len(), len)?;
                SharedSource::Sum { x, residual, sum: SharedMut::new(sum) }
            }
        })
    }
}

impl<'a, X> SharedSource<'a, X> {
    /// The part for `len` values from `start` on.
    ///
    /// # Safety
    /// They exist, and nobody else touches them.
    unsafe fn rows(&self, start: usize, len: usize) -> Source<'a, X> {
        let r = start..start + len;
        match *self {
            Self::Held => Source::Held,
            Self::Given(x) => Source::Given(&x[r]),
            Self::Sum { x, residual, sum } => Source::Sum {
                x: x.map(|x| &x[r.clone()]),
                residual: &residual[r],
                // SAFETY: by the contract of this function.
                sum: unsafe { sum.slice(start, len) },
            },
        }
    }
}

/// `sum = x + residual`, or `sum += residual` where `sum` holds `x` already.
#[inline(always)]
fn add_row<'a, S: Simd, R: Element>(
    s: S,
    x: Option<&[f32]>,
    residual: &[R],
    sum: &'a mut [f32],
) -> &'a [f32] {
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
