//! RMS norm: `y = x rstd gamma`, with `rstd = 1 / sqrt(mean(x²) + eps)`.

use super::{Incoming, Source, add_row, norm_grad_scratch_len, rows_per_task};
use crate::element::Element;
use crate::kernels::error::{KernelError, need, wanted};
use crate::kernels::reduce::sum_partials;
use crate::parallel::{self, SharedMut, chunk_range};
use crate::simd::{self, Simd, Vf, dispatch, map2, update1};

/// What a block of rows of the forward pass works on.
struct Block<'a, X, G, Y> {
    cols: usize,
    eps: f32,
    source: Source<'a, X>,
    gamma: &'a [G],
    y: &'a mut [Y],
    rstd: &'a mut [f32],
}

dispatch!(fn forward_block<X, G, Y>(block: Block<'_, X, G, Y>) = forward_block_body);

#[inline(always)]
fn forward_block_body<S: Simd, X: Element, G: Element, Y: Element>(s: S, block: Block<'_, X, G, Y>) {
    let Block { cols, eps, mut source, gamma, y, rstd } = block;
    for i in 0..rstd.len() {
        let r = i * cols..(i + 1) * cols;
        let y = &mut y[r.clone()];
        rstd[i] = match &mut source {
            Source::Held => {
                let rstd = reciprocal(s, y, eps);
                let scale = Vf::splat(s, rstd);
                update1!(s, gamma, y, |g, x| x * scale * g);
                rstd
            }
            Source::Given(x) => forward_row(s, &x[r], gamma, y, eps),
            Source::Sum { x, residual, sum } => {
                let sum = add_row(s, x.map(|x| &x[r.clone()]), &residual[r.clone()], &mut sum[r]);
                forward_row(s, sum, gamma, y, eps)
            }
        };
    }
}

/// `1 / sqrt(mean(x²) + eps)`.
#[inline(always)]
fn reciprocal<S: Simd, X: Element>(s: S, x: &[X], eps: f32) -> f32 {
    1.0 / (simd::dot(s, x, x) / x.len() as f32 + eps).sqrt()
}

/// Normalises one row; returns its reciprocal root mean square.
#[inline(always)]
fn forward_row<S: Simd, X: Element, G: Element, Y: Element>(
    s: S,
    x: &[X],
    gamma: &[G],
    y: &mut [Y],
    eps: f32,
) -> f32 {
    let rstd = reciprocal(s, x, eps);
    let scale = Vf::splat(s, rstd);
    map2!(s, x, gamma, y, |x, g| x * scale * g);
    rstd
}

/// Both forward functions.
fn forward<X: Element, G: Element, Y: Element>(
    name: &'static str,
    (rows, cols, eps): (usize, usize, f32),
    source: Source<'_, X>,
    gamma: &[G],
    y: &mut [Y],
    rstd: &mut [f32],
) -> Result<(), KernelError> {
    let source = source.share(name, rows * cols)?;
    need(name, "gamma", gamma.len(), cols)?;
    need(name, "y", y.len(), rows * cols)?;
    need(name, "rstd", rstd.len(), rows)?;
    let (y, rstd) = (SharedMut::new(y), SharedMut::new(rstd));
    let gamma = &gamma[..cols];
    let per_task = rows_per_task(cols);
    parallel::for_each(rows.div_ceil(per_task), |task| {
        let r = chunk_range(rows, per_task, task);
        let (start, len) = (r.start * cols, r.len() * cols);
        // SAFETY: tasks own disjoint rows, and the lengths were checked.
        let block = unsafe {
            let (source, y, rstd) =
                (source.rows(start, len), y.slice(start, len), rstd.slice(r.start, r.len()));
            Block { cols, eps, source, gamma, y, rstd }
        };
        forward_block(block);
    });
    Ok(())
}

/// RMS norm of `x: [rows, cols]`: `y = x rstd gamma`, with `gamma: [cols]`; `rstd: [rows]` is kept for the gradient.
/// Without `x`, `y` holds it before.
///
/// # Errors
/// Where a buffer is too short.
pub fn rms_norm<X: Element, G: Element, Y: Element>(
    rows: usize,
    cols: usize,
    eps: f32,
    x: Option<&[X]>,
    gamma: &[G],
    y: &mut [Y],
    rstd: &mut [f32],
) -> Result<(), KernelError> {
    forward("rms_norm", (rows, cols, eps), x.map_or(Source::Held, Source::Given), gamma, y, rstd)
}

/// `sum = x + residual; y = rms_norm(sum)`, in one pass; shapes as [`rms_norm`]. Without `x`, `sum` holds it before.
///
/// # Errors
/// Where a buffer is too short.
pub fn add_rms_norm<R: Element, G: Element, Y: Element>(
    rows: usize,
    cols: usize,
    eps: f32,
    x: Option<&[f32]>,
    residual: &[R],
    gamma: &[G],
    sum: &mut [f32],
    y: &mut [Y],
    rstd: &mut [f32],
) -> Result<(), KernelError> {
    forward("add_rms_norm", (rows, cols, eps), Source::Sum { x, residual, sum }, gamma, y, rstd)
}

/// What a block of rows of the gradient works on.
struct GradBlock<'a, X, G, D, O> {
    cols: usize,
    x: &'a [X],
    gamma: &'a [G],
    rstd: &'a [f32],
    dy: &'a [D],
    d_sum: Incoming<'a>,
    /// Empty where nobody wants it.
    dx: &'a mut [O],
    /// `[cols]`: the partial gradient of `gamma`; empty where nobody wants it.
    dgamma: &'a mut [f32],
}

dispatch!(fn grad_block<X, G, D, O>(block: GradBlock<'_, X, G, D, O>) = grad_block_body);

#[inline(always)]
fn grad_block_body<S: Simd, X: Element, G: Element, D: Element, O: Element>(
    s: S,
    block: GradBlock<'_, X, G, D, O>,
) {
    let cols = block.cols;
    let lanes = S::F32_LANES;
    block.dgamma.fill(0.0);
    for i in 0..block.rstd.len() {
        let r = i * cols..(i + 1) * cols;
        let (x, dy) = (&block.x[r.clone()], &block.dy[r.clone()]);
        let d_sum = block.d_sum.rows(r.clone());
        let scale = Vf::splat(s, block.rstd[i]);
        let mut b = Vf::zero(s);
        for j in (0..cols).step_by(lanes) {
            let e = (j + lanes).min(cols);
            let dy_hat = Vf::load(s, &dy[j..e]) * (Vf::load(s, &x[j..e]) * scale);
            b = dy_hat.mul_add(Vf::load(s, &block.gamma[j..e]), b);
            if let Some(dg) = block.dgamma.get_mut(j..e) {
                (Vf::load(s, dg) + dy_hat).store(dg);
            }
        }
        if block.dx.is_empty() {
            continue;
        }
        let dx = &mut block.dx[r];
        let b = Vf::splat(s, b.sum() / cols as f32);
        for j in (0..cols).step_by(lanes) {
            let e = (j + lanes).min(cols);
            let dyg = Vf::load(s, &dy[j..e]) * Vf::load(s, &block.gamma[j..e]);
            let hat = Vf::load(s, &x[j..e]) * scale;
            let mut d = hat.neg_mul_add(b, dyg) * scale;
            match d_sum {
                Incoming::None => {}
                Incoming::Add(d_sum) => d = d + Vf::load(s, &d_sum[j..e]),
                Incoming::Held => d = d + Vf::load(s, &dx[j..e]),
            }
            d.store(&mut dx[j..e]);
        }
    }
}

/// The gradient of [`rms_norm`] and [`add_rms_norm`].
///
/// `x` is what was normalised (`sum` of the fused form); `d_sum` is a gradient that may reach it from
/// elsewhere and is added, so that `dx` is the gradient of both addends. `dgamma: [cols]`.
/// `scratch`: [`norm_grad_scratch_len`]`(rows, cols, 1)` values. A result that is empty is not computed.
///
/// # Errors
/// Where a buffer is too short.
pub fn rms_norm_grad<X: Element, G: Element, D: Element, O: Element>(
    rows: usize,
    cols: usize,
    x: &[X],
    gamma: &[G],
    rstd: &[f32],
    dy: &[D],
    d_sum: Incoming<'_>,
    dx: &mut [O],
    dgamma: &mut [f32],
    scratch: &mut [f32],
) -> Result<(), KernelError> {
    let name = "rms_norm_grad";
    need(name, "x", x.len(), rows * cols)?;
    need(name, "gamma", gamma.len(), cols)?;
    need(name, "rstd", rstd.len(), rows)?;
    need(name, "dy", dy.len(), rows * cols)?;
    d_sum.check(name, rows * cols)?;
    let wants_dx = wanted(name, "dx", dx.len(), rows * cols)?;
    let wants_dgamma = wanted(name, "dgamma", dgamma.len(), cols)?;
    need(name, "scratch", scratch.len(), norm_grad_scratch_len(rows, cols, 1))?;
    let per_task = rows_per_task(cols);
    let tasks = rows.div_ceil(per_task);
    let gamma = &gamma[..cols];
    {
        let (dx, partials) = (SharedMut::new(dx), SharedMut::new(scratch));
        parallel::for_each(tasks, |task| {
            let r = chunk_range(rows, per_task, task);
            let (start, len) = (r.start * cols, r.len() * cols);
            // SAFETY: tasks own disjoint rows and disjoint partial sums; the lengths were checked.
            let block = unsafe {
                GradBlock {
                    cols,
                    x: &x[start..start + len],
                    gamma,
                    rstd: &rstd[r],
                    dy: &dy[start..start + len],
                    d_sum: d_sum.rows(start..start + len),
                    dx: if wants_dx { dx.slice(start, len) } else { &mut [] },
                    dgamma: if wants_dgamma { partials.slice(task * cols, cols) } else { &mut [] },
                }
            };
            grad_block(block);
        });
    }
    if wants_dgamma {
        sum_partials(&scratch[..tasks * cols], cols, &mut dgamma[..cols]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::kernels::testing::{assert_close, random};

    fn reference(cols: usize, x: &[f64], gamma: &[f32]) -> Vec<f64> {
        x.chunks(cols)
            .flat_map(|row| {
                let rstd = 1.0 / (row.iter().map(|x| x * x).sum::<f64>() / cols as f64 + 1e-6).sqrt();
                row.iter().enumerate().map(|(j, x)| x * rstd * f64::from(gamma[j])).collect::<Vec<_>>()
            })
            .collect()
    }

    #[test]
    fn odd_sizes_match_f64() {
        for (rows, cols) in [(1, 1), (3, 7), (5, 96), (400, 33), (2, 300)] {
            let n = rows * cols;
            let (x, r, gamma, dy) = (random(1, n), random(2, n), random(3, cols), random(4, n));
            let (mut y, mut sum, mut rstd) = (vec![0.0; n], vec![0.0; n], vec![0.0; rows]);
            let wide = |x: &[f32]| x.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
            let to32 = |v: Vec<f64>| v.into_iter().map(|x| x as f32).collect::<Vec<f32>>();
            rms_norm(rows, cols, 1e-6, Some(&x), &gamma, &mut y, &mut rstd).unwrap();
            assert_close(&y, &to32(reference(cols, &wide(&x), &gamma)), 1e-5);
            add_rms_norm(rows, cols, 1e-6, Some(&x), &r, &gamma, &mut sum, &mut y, &mut rstd).unwrap();
            assert_close(&sum, &x.iter().zip(&r).map(|(x, r)| x + r).collect::<Vec<_>>(), 0.0);
            assert_close(&y, &to32(reference(cols, &wide(&sum), &gamma)), 1e-5);

            let d_sum = random(5, n);
            let (mut dx, mut dg) = (vec![0.0; n], vec![f32::NAN; cols]);
            let mut scratch = vec![f32::NAN; norm_grad_scratch_len(rows, cols, 1)];
            rms_norm_grad(
                rows,
                cols,
                &sum,
                &gamma,
                &rstd,
                &dy,
                Incoming::Add(&d_sum),
                &mut dx,
                &mut dg,
                &mut scratch,
            )
            .unwrap();
            let mut held = d_sum.clone();
            rms_norm_grad(
                rows,
                cols,
                &sum,
                &gamma,
                &rstd,
                &dy,
                Incoming::Held,
                &mut held,
                &mut dg.clone(),
                &mut scratch,
            )
            .unwrap();
            assert_eq!(held, dx);
            let (mut in_place, mut second) = (x.clone(), vec![0.0; n]);
            add_rms_norm(rows, cols, 1e-6, None, &r, &gamma, &mut in_place, &mut second, &mut rstd.clone())
                .unwrap();
            assert_eq!((&in_place, &second), (&sum, &y));
            rms_norm(rows, cols, 1e-6, None::<&[f32]>, &gamma, &mut in_place, &mut rstd.clone()).unwrap();
            assert_eq!(in_place, y);
            let loss = |x: &[f64]| -> f64 {
                reference(cols, x, &gamma).iter().zip(&dy).map(|(y, d)| y * f64::from(*d)).sum()
            };
            let base = wide(&sum);
            for i in (0..n).step_by(n / 40 + 1) {
                let h = 1e-5;
                let (mut hi, mut lo) = (base.clone(), base.clone());
                hi[i] += h;
                lo[i] -= h;
                let want = (loss(&hi) - loss(&lo)) / (2.0 * h) + f64::from(d_sum[i]);
                assert!((f64::from(dx[i]) - want).abs() < 3e-4 * want.abs().max(1.0), "dx[{i}]");
            }
            for j in 0..cols {
                let want: f32 = (0..rows).map(|i| dy[i * cols + j] * sum[i * cols + j] * rstd[i]).sum();
                assert!((dg[j] - want).abs() < 1e-3, "dgamma[{j}]");
            }
        }
    }
}
