//! Sums in a fixed order: over rows, over columns, and of squares.

use half::bf16;

use super::convert::convert_slice;
use super::error::{KernelError, need};
use crate::element::{Element, FloatsMut};
use crate::parallel::{self, SharedMut, chunk_range};
use crate::simd::{self, Simd, dispatch, update1};

/// Values per task of a flat sum.
const CHUNK: usize = 32_768;
/// Rows per task of a sum over rows.
const ROWS: usize = 128;

#[inline(always)]
fn add_partials_body<S: Simd, E: Element>(s: S, partials: &[E], stride: usize, out: &mut [f32]) {
    for partial in partials.chunks(stride.max(1)) {
        let n = out.len().min(partial.len());
        update1!(s, &partial[..n], &mut out[..n], |p, o| o + p);
    }
}
dispatch!(
    /// `out += partials[i * stride ..]` for every `i`, in order.
    pub(crate) fn add_partials<E>(partials: &[E], stride: usize, out: &mut [f32]) = add_partials_body
);

/// `out` becomes the sum of `partials[i * stride ..]` over `i`, in order.
pub(crate) fn sum_partials<E: Element>(partials: &[E], stride: usize, out: &mut [f32]) {
    out.fill(0.0);
    add_partials(partials, stride, out);
}

/// As [`sum_partials`], for a result of either type; the partial sums mean nothing afterwards.
pub(crate) fn sum_partials_to(partials: &mut [f32], stride: usize, out: FloatsMut<'_>) {
    match out {
        FloatsMut::F32(out) => sum_partials(partials, stride, out),
        FloatsMut::Bf16(out) => {
            let (sums, rest) = partials.split_at_mut(stride.min(partials.len()));
            if sums.is_empty() {
                out.fill(bf16::ZERO);
            }
            add_partials(rest, stride, sums);
            convert_slice(sums, out);
        }
    }
}

/// The number of scratch values [`sum_rows`] needs.
pub fn sum_rows_scratch_len(rows: usize, cols: usize) -> usize {
    if rows <= ROWS { 0 } else { rows.div_ceil(ROWS) * cols }
}

/// `out[j] = sum_i x[i, j]` for `x: [rows, cols]` (the gradient of a bias).
///
/// # Errors
/// Where a buffer is too short; `scratch` holds [`sum_rows_scratch_len`] values.
pub fn sum_rows<E: Element>(
    rows: usize,
    cols: usize,
    x: &[E],
    out: &mut [f32],
    scratch: &mut [f32],
) -> Result<(), KernelError> {
    need("sum_rows", "x", x.len(), rows * cols)?;
    need("sum_rows", "out", out.len(), cols)?;
    need("sum_rows", "scratch", scratch.len(), sum_rows_scratch_len(rows, cols))?;
    let x = &x[..rows * cols];
    let out = &mut out[..cols];
    if rows <= ROWS {
        sum_partials(x, cols, out);
        return Ok(());
    }
    let tasks = rows.div_ceil(ROWS);
    {
        let partials = SharedMut::new(scratch);
        parallel::for_each(tasks, |task| {
            let r = chunk_range(rows, ROWS, task);
            // SAFETY: each task has its own partial sums.
            let partial = unsafe { partials.slice(task * cols, cols) };
            sum_partials(&x[r.start * cols..r.end * cols], cols, partial);
        });
    }
    sum_partials(&scratch[..tasks * cols], cols, out);
    Ok(())
}

#[inline(always)]
fn sum_cols_body<S: Simd, E: Element>(s: S, cols: usize, x: &[E], out: &mut [f32]) {
    for (i, out) in out.iter_mut().enumerate() {
        *out = simd::sum(s, &x[i * cols..(i + 1) * cols]);
    }
}
dispatch!(fn sum_cols_task<E>(cols: usize, x: &[E], out: &mut [f32]) = sum_cols_body);

/// `out[i] = sum_j x[i, j]` for `x: [rows, cols]`.
///
/// # Errors
/// Where a buffer is too short.
pub fn sum_cols<E: Element>(rows: usize, cols: usize, x: &[E], out: &mut [f32]) -> Result<(), KernelError> {
    need("sum_cols", "x", x.len(), rows * cols)?;
    need("sum_cols", "out", out.len(), rows)?;
    let per_task = (CHUNK / cols.max(1)).max(1);
    let out = SharedMut::new(out);
    parallel::for_each(rows.div_ceil(per_task), |task| {
        let r = chunk_range(rows, per_task, task);
        // SAFETY: tasks own disjoint rows.
        let out = unsafe { out.slice(r.start, r.len()) };
        sum_cols_task(cols, &x[r.start * cols..r.end * cols], out);
    });
    Ok(())
}

/// Squares of one chunk: `f32` sums over short blocks, `f64` over the blocks.
#[inline(always)]
fn squares_body<S: Simd, E: Element>(s: S, x: &[E]) -> f64 {
    let mut total = 0.0;
    for block in x.chunks(256) {
        total += f64::from(simd::dot(s, block, block));
    }
    total
}
dispatch!(fn squares_chunk<E>(x: &[E]) -> f64 = squares_body);

/// `sum x²`, accumulated in `f64` along a fixed tree.
pub fn sum_squares<E: Element>(x: &[E]) -> f64 {
    parallel::sum_f64(x.len().div_ceil(CHUNK), &|i| squares_chunk(&x[chunk_range(x.len(), CHUNK, i)]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::kernels::testing::{assert_close, on_threads, random};

    #[test]
    fn sums_match_f64() {
        for (rows, cols) in [(1, 1), (3, 17), (128, 5), (129, 40), (1000, 33)] {
            let x = random(1, rows * cols);
            let mut scratch = vec![f32::NAN; sum_rows_scratch_len(rows, cols)];
            let mut out = vec![f32::NAN; cols];
            sum_rows(rows, cols, &x, &mut out, &mut scratch).unwrap();
            let want: Vec<f32> = (0..cols)
                .map(|j| (0..rows).map(|i| f64::from(x[i * cols + j])).sum::<f64>() as f32)
                .collect();
            assert_close(&out, &want, 1e-5);
            let mut out = vec![f32::NAN; rows];
            sum_cols(rows, cols, &x, &mut out).unwrap();
            let want: Vec<f32> =
                x.chunks(cols).map(|r| r.iter().map(|x| f64::from(*x)).sum::<f64>() as f32).collect();
            assert_close(&out, &want, 1e-5);
        }
    }

    #[test]
    fn flat_sums_are_the_same_on_any_number_of_threads() {
        let x = random(2, 5 * CHUNK + 3);
        let want: f64 = x.iter().map(|x| f64::from(*x).powi(2)).sum();
        let one = on_threads(1, || sum_squares(&x));
        assert!((one - want).abs() < 1e-6 * want);
        assert_eq!(one.to_bits(), on_threads(3, || sum_squares(&x)).to_bits());
    }
}
