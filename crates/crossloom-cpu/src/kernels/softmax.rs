//! Softmax over the last dimension.

use super::error::{KernelError, need};
use crate::math::exp_v;
use crate::parallel::{self, SharedMut, chunk_range};
use crate::simd::{self, Simd, Vf, dispatch, update0};

/// Values per task.
const CHUNK: usize = 16_384;

/// `y = exp(x) / sum exp(x)` over each row of `x [rows, cols]`. Without `x`, `y` holds it before.
///
/// # Errors
/// Where a buffer is too short.
pub fn softmax(rows: usize, cols: usize, x: Option<&[f32]>, y: &mut [f32]) -> Result<(), KernelError> {
    need("softmax", "x", x.map_or(rows * cols, <[f32]>::len), rows * cols)?;
    need("softmax", "y", y.len(), rows * cols)?;
    let per_task = (CHUNK / cols.max(1)).max(1);
    let y = SharedMut::new(y);
    parallel::for_each(rows.div_ceil(per_task), |task| {
        for i in chunk_range(rows, per_task, task) {
            let r = i * cols..(i + 1) * cols;
            // SAFETY: tasks own disjoint rows.
            let y = unsafe { y.slice(r.start, cols) };
            if let Some(x) = x {
                y.copy_from_slice(&x[r]);
            }
            forward_row(y);
        }
    });
    Ok(())
}

dispatch!(fn forward_row(y: &mut [f32]) = forward_body);

#[inline(always)]
fn forward_body<S: Simd>(s: S, y: &mut [f32]) {
    let shift = Vf::splat(s, simd::max(s, y));
    let (head, tail) = S::as_mut_simd_f32s(y);
    let mut sum = Vf::zero(s);
    for x in head {
        let e = exp_v(Vf::new(s, *x) - shift);
        sum = sum + e;
        *x = e.raw();
    }
    let mut total = sum.sum();
    if !tail.is_empty() {
        exp_v(Vf::load(s, tail) - shift).store(tail);
        total += tail.iter().sum::<f32>();
    }
    let factor = Vf::splat(s, 1.0 / total);
    update0!(s, y, |x| x * factor);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::kernels::testing::{assert_close, random};

    #[test]
    fn rows_match_f64() {
        for (rows, cols) in [(1, 1), (3, 7), (300, 65), (2, 1000)] {
            let x: Vec<f32> = random(1, rows * cols).iter().map(|x| x * 30.0).collect();
            let mut y = vec![0.0; rows * cols];
            softmax(rows, cols, Some(&x), &mut y).unwrap();
            let mut in_place = x.clone();
            softmax(rows, cols, None, &mut in_place).unwrap();
            assert_eq!(in_place, y);
            let mut want = Vec::new();
            for row in x.chunks(cols) {
                let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let e: Vec<f64> = row.iter().map(|x| f64::from(x - top).exp()).collect();
                let sum: f64 = e.iter().sum();
                want.extend(e.iter().map(|e| (e / sum) as f32));
            }
            assert_close(&y, &want, 1e-6);
        }
    }
}
