//! Tokens that are weighted sums of rows out of one list, and the gradient of the rows.

use super::convert::convert_slice;
use super::error::{KernelError, indices, need};
use crate::element::Element;
use crate::parallel::{self, SharedMut, chunk_range};
use crate::simd::{Simd, Vf, dispatch, update1};

/// Values per task.
const CHUNK: usize = 16_384;
/// Columns that are summed at once, in the first-level cache.
const COLUMNS: usize = 1024;

/// The shape of a mix: `features [taps, rows, cols]`, `end [cols]` as row number `rows` of every tap, parts `[tokens, parts]` with a row
/// and a weight each, and what they are mixed into, `[taps, tokens, cols]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MixRows {
    /// Taps, which are mixed alike.
    pub taps: usize,
    /// Rows of a tap.
    pub rows: usize,
    /// Values of a row.
    pub cols: usize,
    /// Tokens of a tap.
    pub tokens: usize,
    /// Parts of a token.
    pub parts: usize,
}

impl MixRows {
    fn check(
        &self,
        name: &'static str,
        lengths: [usize; 3],
        rows: &[i32],
        weights: &[f32],
    ) -> Result<(), KernelError> {
        let [features, end, mixed] = lengths;
        need(name, "features", features, self.taps * self.rows * self.cols)?;
        need(name, "end", end, self.cols)?;
        need(name, "tokens", mixed, self.taps * self.tokens * self.cols)?;
        need(name, "rows", rows.len(), self.tokens * self.parts)?;
        need(name, "weights", weights.len(), self.tokens * self.parts)?;
        indices(name, "rows", &rows[..self.tokens * self.parts], self.rows + 1, false)
    }

    /// The parts of a token that have a weight, in their order.
    fn of_token<'p>(
        &self,
        token: usize,
        rows: &'p [i32],
        weights: &'p [f32],
    ) -> impl Iterator<Item = (usize, f32)> + 'p {
        let parts = token * self.parts..(token + 1) * self.parts;
        let parts = rows[parts.clone()].iter().zip(&weights[parts]);
        parts.filter(|&(_, &weight)| weight != 0.0).map(|(&row, &weight)| (row as usize, weight))
    }
}

/// `y[k, t] = sum_p weights[t, p] row_k(rows[t, p])`; a part of weight 0 is not read.
///
/// # Errors
/// Where a buffer is too short or a row is not from 0 to `rows`.
pub fn mix_rows<X: Element, Y: Element>(
    p: &MixRows,
    features: &[X],
    end: &[f32],
    (rows, weights): (&[i32], &[f32]),
    y: &mut [Y],
) -> Result<(), KernelError> {
    p.check("mix_rows", [features.len(), end.len(), y.len()], rows, weights)?;
    let per_task = (CHUNK / p.cols.max(1)).max(1);
    let all = p.taps * p.tokens;
    let y = SharedMut::new(y);
    parallel::for_each(all.div_ceil(per_task), |task| {
        for i in chunk_range(all, per_task, task) {
            let (tap, token) = (i / p.tokens, i % p.tokens);
            for first in (0..p.cols).step_by(COLUMNS) {
                let width = COLUMNS.min(p.cols - first);
                let mut sum = [0.0; COLUMNS];
                let sum = &mut sum[..width];
                for (row, weight) in p.of_token(token, rows, weights) {
                    if row == p.rows {
                        add_scaled(weight, &end[first..first + width], sum);
                    } else {
                        let from = (tap * p.rows + row) * p.cols + first;
                        add_scaled(weight, &features[from..from + width], sum);
                    }
                }
                // SAFETY: tasks own disjoint rows.
                convert_slice(sum, unsafe { y.slice(i * p.cols + first, width) });
            }
        }
    });
    Ok(())
}

dispatch!(fn add_scaled<E>(weight: f32, x: &[E], sum: &mut [f32]) = add_scaled_body);

#[inline(always)]
fn add_scaled_body<S: Simd, E: Element>(s: S, weight: f32, x: &[E], sum: &mut [f32]) {
    let weight = Vf::splat(s, weight);
    update1!(s, x, sum, |x, sum| x.mul_add(weight, sum));
}

/// The gradients of features and end, which are zeroed first, from `dy [taps, tokens, cols]`: parts are added in their order. Tasks own
/// ranges of rows.
///
/// # Errors
/// As [`mix_rows`].
pub fn mix_rows_grad<E: Element>(
    p: &MixRows,
    dy: &[E],
    (rows, weights): (&[i32], &[f32]),
    d_features: &mut [f32],
    d_end: &mut [f32],
) -> Result<(), KernelError> {
    p.check("mix_rows_grad", [d_features.len(), d_end.len(), dy.len()], rows, weights)?;
    let per_task = p.rows.div_ceil(8).max(1);
    let per_tap = p.rows.div_ceil(per_task);
    let d_features = SharedMut::new(d_features);
    parallel::for_each(p.taps * per_tap, |task| {
        let tap = task / per_tap;
        let owned = chunk_range(p.rows, per_task, task % per_tap);
        // SAFETY: tasks own disjoint ranges of the rows of a tap.
        let part = unsafe { d_features.slice((tap * p.rows + owned.start) * p.cols, owned.len() * p.cols) };
        part.fill(0.0);
        add_tokens(p, tap, owned.start, dy, (rows, weights), part);
    });
    let d_end = &mut d_end[..p.cols];
    d_end.fill(0.0);
    for tap in 0..p.taps {
        add_tokens(p, tap, p.rows, dy, (rows, weights), d_end);
    }
    Ok(())
}

/// Adds what tokens have of the rows `first..` of a tap, as many as `part` holds.
fn add_tokens<E: Element>(
    p: &MixRows,
    tap: usize,
    first: usize,
    dy: &[E],
    (rows, weights): (&[i32], &[f32]),
    part: &mut [f32],
) {
    for token in 0..p.tokens {
        for (row, weight) in p.of_token(token, rows, weights) {
            let Some(row) = row.checked_sub(first) else { continue };
            let Some(to) = part.get_mut(row * p.cols..(row + 1) * p.cols) else { continue };
            let from = (tap * p.tokens + token) * p.cols;
            add_scaled(weight, &dy[from..from + p.cols], to);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::kernels::testing::{assert_close, on_threads, random};

    #[test]
    fn rows_are_mixed_and_unmixed_alike_on_any_number_of_threads() {
        for (taps, rows, cols, tokens, parts) in [(1, 1, 1, 1, 1), (2, 7, 5, 30, 4), (3, 40, 1100, 90, 4)] {
            let p = MixRows { taps, rows, cols, tokens, parts };
            let named: Vec<i32> = (0..tokens * parts).map(|i| (i * i * 7 % (rows + 1)) as i32).collect();
            let mut weights = random(1, tokens * parts);
            weights.iter_mut().step_by(3).for_each(|weight| *weight = 0.0);
            let (features, end) = (random(2, taps * rows * cols), random(3, cols));
            let dy = random(4, taps * tokens * cols);
            let of = (&named[..], &weights[..]);
            let run = |threads| {
                let mut y = vec![f32::NAN; taps * tokens * cols];
                let (mut of_features, mut of_end) =
                    (vec![f32::NAN; taps * rows * cols], vec![f32::NAN; cols]);
                on_threads(threads, || {
                    mix_rows(&p, &features, &end, of, &mut y).unwrap();
                    mix_rows_grad(&p, &dy, of, &mut of_features, &mut of_end).unwrap();
                });
                [y, of_features, of_end]
            };
            let mut want = [vec![0.0; taps * tokens * cols], vec![0.0; taps * rows * cols], vec![0.0; cols]];
            for i in 0..taps * tokens * parts * cols {
                let (part, c) = (i / cols, i % cols);
                let (tap, at) = (part / (tokens * parts), part % (tokens * parts));
                let (token, row, weight) = (at / parts, named[at] as usize, f64::from(weights[at]));
                let (to, from) = ((tap * tokens + token) * cols + c, (tap * rows + row) * cols + c);
                if row == rows {
                    want[0][to] += weight * f64::from(end[c]);
                    want[2][c] += weight * f64::from(dy[to]);
                } else {
                    want[0][to] += weight * f64::from(features[from]);
                    want[1][from] += weight * f64::from(dy[to]);
                }
            }
            let found = run(1);
            for (found, want) in found.iter().zip(&want) {
                let want: Vec<f32> = want.iter().map(|&x| x as f32).collect();
                assert_close(found, &want, 2e-5);
            }
            assert_eq!(found, run(3));
        }
    }

    #[test]
    fn a_row_alone_is_copied_and_one_without_a_weight_is_not_read() {
        let p = MixRows { taps: 1, rows: 2, cols: 3, tokens: 2, parts: 2 };
        let features = [f32::NAN, f32::NAN, f32::NAN, 1.1, f32::MIN_POSITIVE, -3.3];
        let mut y = [0.5; 6];
        mix_rows(&p, &features, &[7.0; 3], (&[1, 0, 0, 0], &[1.0, 0.0, 0.0, 0.0]), &mut y).unwrap();
        assert_eq!(y, [1.1, f32::MIN_POSITIVE, -3.3, 0.0, 0.0, 0.0]);
        let refused = |row| mix_rows(&p, &features, &[7.0; 3], (&[1, 0, row, 0], &[0.0; 4]), &mut [0.0; 6]);
        assert!(refused(2).is_ok());
        assert!(refused(3).is_err());
        assert!(refused(-1).is_err());
    }
}
