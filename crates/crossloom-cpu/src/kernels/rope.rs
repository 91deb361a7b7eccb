//! Rotary positions, half-rotation form: columns `i` and `i + head_dim/2` of a head turn by the same angle.

use super::error::{KernelError, indices, need, same};
use super::view::{Mat, MatMut};
use crate::element::Element;
use crate::parallel::{self, chunk_range};
use crate::simd::{Simd, Vf, dispatch};

/// Cosines and sines for positions `0 .. positions`, `[positions, head_dim / 2]` each.
#[derive(Debug, Clone, Copy)]
pub struct RopeTable<'a> {
    /// Width of a head; even.
    pub head_dim: usize,
    /// `cos(position * theta^(-2 i / head_dim))`.
    pub cos: &'a [f32],
    /// `sin` of the same angles.
    pub sin: &'a [f32],
}

/// Fills a [`RopeTable`] for positions `0 .. positions`; angles are computed in `f64`.
///
/// # Errors
/// Where a buffer is shorter than `positions * head_dim / 2`, or `head_dim` is odd.
pub fn rope_table(
    positions: usize,
    head_dim: usize,
    theta: f64,
    cos: &mut [f32],
    sin: &mut [f32],
) -> Result<(), KernelError> {
    same("rope_table", "head_dim % 2", head_dim % 2, 0)?;
    let half = head_dim / 2;
    need("rope_table", "cos", cos.len(), positions * half)?;
    need("rope_table", "sin", sin.len(), positions * half)?;
    for i in 0..half {
        let frequency = theta.powf(-2.0 * i as f64 / head_dim as f64);
        for p in 0..positions {
            let (s, c) = (p as f64 * frequency).sin_cos();
            (cos[p * half + i], sin[p * half + i]) = (c as f32, s as f32);
        }
    }
    Ok(())
}

/// Turns every head of `x [rows, heads head_dim]` by its row's position, in place; `inverse` turns back, which is the
/// gradient. `positions: [rows]`.
///
/// # Errors
/// Where sizes do not agree, or a position is outside of the table.
pub fn rope_in_place<E: Element>(
    x: MatMut<'_, E>,
    positions: &[i32],
    table: RopeTable<'_>,
    inverse: bool,
) -> Result<(), KernelError> {
    check(x.as_ref(), positions, table)?;
    run(x.as_ref().ptr(), x.row_stride(), &x, positions, table, inverse);
    Ok(())
}

/// As [`rope_in_place`], from `x` to `y`.
///
/// # Errors
/// Where sizes do not agree, or a position is outside of the table.
pub fn rope<X: Element, Y: Element>(
    x: Mat<'_, X>,
    positions: &[i32],
    table: RopeTable<'_>,
    inverse: bool,
    y: MatMut<'_, Y>,
) -> Result<(), KernelError> {
    check(x, positions, table)?;
    same("rope", "rows of y", y.rows(), x.rows())?;
    same("rope", "columns of y", y.cols(), x.cols())?;
    run(x.ptr(), x.row_stride(), &y, positions, table, inverse);
    Ok(())
}

fn check<E: Element>(x: Mat<'_, E>, positions: &[i32], table: RopeTable<'_>) -> Result<(), KernelError> {
    same("rope", "head_dim % 2", table.head_dim % 2, 0)?;
    need("rope", "head_dim", table.head_dim, 2)?;
    same("rope", "columns % head_dim", x.cols() % table.head_dim, 0)?;
    need("rope", "positions", positions.len(), x.rows())?;
    let bound = table.cos.len().min(table.sin.len()) / (table.head_dim / 2);
    indices("rope", "positions", &positions[..x.rows()], bound, false)
}

/// A base pointer that tasks share for reading.
struct Source<E>(*const E);
// SAFETY: only read, and never while anyone writes the same element (each task reads the rows it writes).
unsafe impl<E: Element> Sync for Source<E> {}

/// Values per task.
const CHUNK: usize = 16_384;

fn run<X: Element, Y: Element>(
    x: *const X,
    x_stride: usize,
    y: &MatMut<'_, Y>,
    positions: &[i32],
    table: RopeTable<'_>,
    inverse: bool,
) {
    let per_task = (CHUNK / y.cols().max(1)).max(1);
    let x = Source(x);
    parallel::for_each(y.rows().div_ceil(per_task), |task| {
        let x = &x;
        let r = chunk_range(y.rows(), per_task, task);
        rows_task(x, x_stride, y, r.start, &positions[r], table, inverse);
    });
}

dispatch!(
    fn rows_task<X, Y>(
        x: &Source<X>,
        x_stride: usize,
        y: &MatMut<'_, Y>,
        first: usize,
        positions: &[i32],
        table: RopeTable<'_>,
        inverse: bool,
    ) = rows_body
);

#[inline(always)]
fn rows_body<S: Simd, X: Element, Y: Element>(
    s: S,
    x: &Source<X>,
    x_stride: usize,
    y: &MatMut<'_, Y>,
    first: usize,
    positions: &[i32],
    table: RopeTable<'_>,
    inverse: bool,
) {
    let half = table.head_dim / 2;
    let sign = Vf::splat(s, if inverse { -1.0 } else { 1.0 });
    for (i, position) in positions.iter().enumerate() {
        let at = *position as usize * half;
        let (cos, sin) = (&table.cos[at..at + half], &table.sin[at..at + half]);
        for head in (0..y.cols()).step_by(table.head_dim) {
            // SAFETY: this row and head exist in both, by `check`; only this task touches them; both halves of a pair
            // are read before either is written, so that the same place may be given twice.
            unsafe {
                let from = x.0.add((first + i) * x_stride + head);
                let to = y.ptr().add((first + i) * y.row_stride() + head);
                let mut j = 0;
                while j < half {
                    let n = half - j;
                    let (a, b) =
                        (Vf::load_first(s, from.add(j), n), Vf::load_first(s, from.add(half + j), n));
                    let c = Vf::load_first(s, cos.as_ptr().add(j), n);
                    let d = Vf::load_first(s, sin.as_ptr().add(j), n) * sign;
                    b.neg_mul_add(d, a * c).store_first(to.add(j), n);
                    a.mul_add(d, b * c).store_first(to.add(half + j), n);
                    j += S::F32_LANES;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::kernels::testing::{assert_close, random};

    #[test]
    fn turns_match_the_definition_and_turn_back() {
        for (rows, heads, head_dim) in [(1, 1, 2), (5, 3, 8), (70, 2, 24), (3, 1, 64)] {
            let (width, cols, half) = (heads * head_dim + 3, heads * head_dim, head_dim / 2);
            let positions: Vec<i32> = (0..rows).map(|i| (i * 7 % 50) as i32).collect();
            let (mut cos, mut sin) = (vec![0.0; 50 * half], vec![0.0; 50 * half]);
            rope_table(50, head_dim, 10_000.0, &mut cos, &mut sin).unwrap();
            let table = RopeTable { head_dim, cos: &cos, sin: &sin };
            let data = random(1, rows * width);
            let mut turned = data.clone();
            rope_in_place(
                MatMut::columns(&mut turned, rows, width, 1, cols).unwrap(),
                &positions,
                table,
                false,
            )
            .unwrap();
            let mut want = data.clone();
            for i in 0..rows {
                for h in 0..heads {
                    for j in 0..half {
                        let angle =
                            f64::from(positions[i]) * 10_000_f64.powf(-2.0 * j as f64 / head_dim as f64);
                        let at = i * width + 1 + h * head_dim + j;
                        let (a, b) = (f64::from(data[at]), f64::from(data[at + half]));
                        want[at] = (a * angle.cos() - b * angle.sin()) as f32;
                        want[at + half] = (b * angle.cos() + a * angle.sin()) as f32;
                    }
                }
            }
            assert_close(&turned, &want, 1e-6);
            let mut other = vec![0.0; rows * cols];
            let x = Mat::columns(&turned, rows, width, 1, cols).unwrap();
            rope(x, &positions, table, true, MatMut::new(&mut other, rows, cols).unwrap()).unwrap();
            let back: Vec<f32> = (0..rows).flat_map(|i| data[i * width + 1..][..cols].to_vec()).collect();
            assert_close(&other, &back, 1e-6);
        }
    }

    #[test]
    fn positions_outside_of_the_table_are_reported() {
        let (cos, sin) = (vec![1.0; 8], vec![0.0; 8]);
        let table = RopeTable { head_dim: 4, cos: &cos, sin: &sin };
        let mut x = vec![0.0; 8];
        for bad in [4, -1] {
            let error =
                rope_in_place(MatMut::new(&mut x, 2, 4).unwrap(), &[0, bad], table, false).unwrap_err();
            assert!(matches!(error, KernelError::Index { position: 1, bound: 4, .. }), "{error}");
        }
    }
}
