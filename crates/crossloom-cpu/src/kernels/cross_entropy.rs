//! Cross-entropy of logits against class numbers, with ignored rows.

use super::error::{KernelError, indices, need};
use crate::math::exp_v;
use crate::parallel::{self, SharedMut, chunk_range};
use crate::simd::{self, Simd, Vf, dispatch, map1, update0};

/// Values per task.
const CHUNK: usize = 16_384;

fn rows_per_task(classes: usize) -> usize {
    (CHUNK / classes.max(1)).max(1)
}

/// The rows that are kept, at least 1.
fn kept(targets: &[i32]) -> f64 {
    targets.iter().filter(|t| **t >= 0).count().max(1) as f64
}

/// Cross-entropy of `logits [rows, classes]` against `targets [rows]` (-1 = ignored): fills `lse [rows]`, the log-sum-exp of every
/// row, and `losses [rows]`, `lse - logit of the target` in nats, 0 in ignored rows; returns the mean over the rows kept (0 if there
/// is none). The mean is accumulated in `f64` in row order.
///
/// # Errors
/// Where a buffer is too short or a target is not a class.
pub fn cross_entropy(
    rows: usize,
    classes: usize,
    logits: &[f32],
    targets: &[i32],
    lse: &mut [f32],
    losses: &mut [f32],
) -> Result<f32, KernelError> {
    need("cross_entropy", "logits", logits.len(), rows * classes)?;
    need("cross_entropy", "targets", targets.len(), rows)?;
    need("cross_entropy", "lse", lse.len(), rows)?;
    need("cross_entropy", "losses", losses.len(), rows)?;
    let targets = &targets[..rows];
    indices("cross_entropy", "targets", targets, classes, true)?;
    let per_task = rows_per_task(classes);
    {
        let lse = SharedMut::new(lse);
        parallel::for_each(rows.div_ceil(per_task), |task| {
            let r = chunk_range(rows, per_task, task);
            // SAFETY: tasks own disjoint rows.
            let lse = unsafe { lse.slice(r.start, r.len()) };
            forward_rows(classes, &logits[r.start * classes..r.end * classes], lse);
        });
    }
    let mut sum = 0.0;
    for (i, (target, of_row)) in targets.iter().zip(losses).enumerate() {
        let loss = match usize::try_from(*target) {
            Ok(class) => f64::from(lse[i]) - f64::from(logits[i * classes + class]),
            Err(_) => 0.0,
        };
        *of_row = loss as f32;
        sum += loss;
    }
    Ok((sum / kept(targets)) as f32)
}

dispatch!(fn forward_rows(classes: usize, logits: &[f32], lse: &mut [f32]) = forward_body);

#[inline(always)]
fn forward_body<S: Simd>(s: S, classes: usize, logits: &[f32], lse: &mut [f32]) {
    for (i, lse) in lse.iter_mut().enumerate() {
        let row = &logits[i * classes..(i + 1) * classes];
        let top = simd::max(s, row);
        let shift = Vf::splat(s, top);
        let (head, tail) = S::as_simd_f32s(row);
        let mut sum = Vf::zero(s);
        for x in head {
            sum = sum + exp_v(Vf::new(s, *x) - shift);
        }
        let mut total = sum.sum();
        if !tail.is_empty() {
            let mut last = [0.0; 64];
            exp_v(Vf::load(s, tail) - shift).store(&mut last[..tail.len()]);
            total += last[..tail.len()].iter().sum::<f32>();
        }
        *lse = top + total.ln();
    }
}

/// The gradient of [`cross_entropy`] for `d_loss`: `d_logits = d_loss (softmax - one-hot) / kept rows`, and 0 on
/// ignored rows. Without `logits`, `d_logits` holds them before.
///
/// # Errors
/// Where a buffer is too short or a target is not a class.
pub fn cross_entropy_grad(
    rows: usize,
    classes: usize,
    d_loss: f32,
    logits: Option<&[f32]>,
    targets: &[i32],
    lse: &[f32],
    d_logits: &mut [f32],
) -> Result<(), KernelError> {
    let name = "cross_entropy_grad";
    need(name, "logits", logits.map_or(rows * classes, <[f32]>::len), rows * classes)?;
    need(name, "targets", targets.len(), rows)?;
    need(name, "lse", lse.len(), rows)?;
    need(name, "d_logits", d_logits.len(), rows * classes)?;
    let targets = &targets[..rows];
    indices(name, "targets", targets, classes, true)?;
    let factor = (f64::from(d_loss) / kept(targets)) as f32;
    let per_task = rows_per_task(classes);
    let d_logits = SharedMut::new(d_logits);
    parallel::for_each(rows.div_ceil(per_task), |task| {
        for i in chunk_range(rows, per_task, task) {
            let r = i * classes..(i + 1) * classes;
            // SAFETY: tasks own disjoint rows.
            let d = unsafe { d_logits.slice(r.start, classes) };
            match usize::try_from(targets[i]) {
                Err(_) => d.fill(0.0),
                Ok(class) => {
                    grad_row(logits.map(|x| &x[r]), lse[i], factor, d);
                    d[class] -= factor;
                }
            }
        }
    });
    Ok(())
}

dispatch!(fn grad_row(x: Option<&[f32]>, lse: f32, factor: f32, d: &mut [f32]) = grad_body);

#[inline(always)]
fn grad_body<S: Simd>(s: S, x: Option<&[f32]>, lse: f32, factor: f32, d: &mut [f32]) {
    let (shift, factor) = (Vf::splat(s, lse), Vf::splat(s, factor));
    match x {
        Some(x) => map1!(s, x, d, |x| exp_v(x - shift) * factor),
        None => update0!(s, d, |x| exp_v(x - shift) * factor),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::kernels::testing::{assert_close, random};

    #[test]
    fn loss_and_gradient_match_f64() {
        for (rows, classes) in [(1, 1), (3, 7), (100, 65), (300, 130)] {
            let logits: Vec<f32> = random(1, rows * classes).iter().map(|x| x * 20.0).collect();
            let targets: Vec<i32> =
                (0..rows).map(|i| if i % 3 == 1 { -1 } else { (i * 5 % classes) as i32 }).collect();
            let (mut lse, mut losses) = (vec![0.0; rows], vec![f32::NAN; rows]);
            let loss = cross_entropy(rows, classes, &logits, &targets, &mut lse, &mut losses).unwrap();
            let count = targets.iter().filter(|t| **t >= 0).count() as f64;
            let (mut want, mut want_d) = (0.0, vec![0.0; rows * classes]);
            for i in 0..rows {
                let row = &logits[i * classes..(i + 1) * classes];
                let exact = row.iter().map(|x| f64::from(*x).exp()).sum::<f64>().ln();
                assert!((f64::from(lse[i]) - exact).abs() < 1e-5);
                let known = targets[i] >= 0;
                let of_row = if known { exact - f64::from(row[targets[i] as usize]) } else { 0.0 };
                assert!((f64::from(losses[i]) - of_row).abs() < 1e-5);
                want += of_row;
                if known {
                    for (j, x) in row.iter().enumerate() {
                        let hit = f64::from(u8::from(j == targets[i] as usize));
                        want_d[i * classes + j] =
                            (2.0 / count * ((f64::from(*x) - exact).exp() - hit)) as f32;
                    }
                }
            }
            assert!((f64::from(loss) - want / count).abs() < 1e-5);
            let mut d = vec![f32::NAN; rows * classes];
            cross_entropy_grad(rows, classes, 2.0, Some(&logits), &targets, &lse, &mut d).unwrap();
            assert_close(&d, &want_d, 1e-6);
            let mut in_place = logits.clone();
            cross_entropy_grad(rows, classes, 2.0, None, &targets, &lse, &mut in_place).unwrap();
            assert_eq!(in_place, d);
        }
    }

    #[test]
    fn nothing_to_learn_is_a_loss_of_zero_and_a_wrong_class_is_reported() {
        let (mut lse, mut losses) = ([0.0; 2], [1.0; 2]);
        let logits = [1.0; 6];
        let loss = cross_entropy(2, 3, &logits, &[-1, -1], &mut lse, &mut losses).unwrap();
        assert_eq!((loss, losses), (0.0, [0.0; 2]));
        let error = cross_entropy(2, 3, &logits, &[0, 3], &mut lse, &mut losses).unwrap_err();
        assert!(matches!(error, KernelError::Index { position: 1, index: 3, bound: 3, .. }));
    }
}
