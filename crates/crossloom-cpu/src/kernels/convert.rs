//! From one float type to the other.

use super::error::{KernelError, need};
use crate::element::Element;
use crate::parallel::{self, SharedMut, chunk_range};
use crate::simd::{Simd, dispatch, map1};

/// Values per task.
const CHUNK: usize = 32_768;

/// `y = x`, widened exactly or rounded to nearest, ties to even.
///
/// # Errors
/// Where `y` is shorter than `x`.
pub fn convert<X: Element, Y: Element>(x: &[X], y: &mut [Y]) -> Result<(), KernelError> {
    need("convert", "y", y.len(), x.len())?;
    let y = SharedMut::new(y);
    parallel::for_each(x.len().div_ceil(CHUNK), |task| {
        let r = chunk_range(x.len(), CHUNK, task);
        // SAFETY: tasks own disjoint ranges of the output.
        convert_slice(&x[r.clone()], unsafe { y.slice(r.start, r.len()) });
    });
    Ok(())
}

dispatch!(
    /// `y = x` on this thread.
    pub(crate) fn convert_slice<X, Y>(x: &[X], y: &mut [Y]) = convert_body
);

/// `y = x` on this thread.
#[inline(always)]
pub(crate) fn convert_body<S: Simd, X: Element, Y: Element>(s: S, x: &[X], y: &mut [Y]) {
    map1!(s, x, y, |x| x);
}
