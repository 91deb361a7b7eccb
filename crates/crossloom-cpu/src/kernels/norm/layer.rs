//! Layer norm: `y = (x - mean) rstd gamma + beta`.

use super::{Incoming, Source, add_row, norm_grad_scratch_len, rows_per_task};
use crate::element::Element;
use crate::kernels::error::{KernelError, need, wanted};
use crate::kernels::reduce::sum_partials;
use crate::parallel::{self, SharedMut, chunk_range};
use crate::simd::{self, Simd, Vf, dispatch};

/// Normalises one row, in place or not; returns its mean and reciprocal standard deviation.
///
/// # Safety
/// `x` is readable and `y` writable for `gamma.len()` values; they are the same place or do not overlap.
#[inline(always)]
unsafe fn forward_row<S: Simd, X: Element, G: Element, Y: Element>(
    s: S,
    x: *const X,
    gamma: &[G],
    beta: &[G],
    y: *mut Y,
    eps: f32,
) -> (f32, f32) {
    let n = gamma.len();
    let (mean, rstd) = {
        // SAFETY: readable by the caller's promise; nothing is written while this slice lives.
        let x = unsafe { std::slice::from_raw_parts(x, n) };
        let mean = simd::sum(s, x) / n as f32;
        (mean, 1.0 / (centered_squares(s, x, mean) / n as f32 + eps).sqrt())
    };
    let (center, scale) = (Vf::splat(s, mean), Vf::splat(s, rstd));
    for j in (0..n).step_by(S::F32_LANES) {
        let e = (j + S::F32_LANES).min(n);
        // SAFETY: `j .. e` is within the row; each value is read before it is written.
        unsafe {
            let hat = (Vf::load_first(s, x.add(j), e - j) - center) * scale;
            hat.mul_add(Vf::load(s, &gamma[j..e]), Vf::load(s, &beta[j..e])).store_first(y.add(j), e - j);
        }
    }
    (mean, rstd)
}

/// `sum (x - mean)²`.
#[inline(always)]
fn centered_squares<S: Simd, X: Element>(s: S, x: &[X], mean: f32) -> f32 {
    let center = Vf::splat(s, mean);
    let mut acc = [Vf::zero(s); 2];
    let whole = x.len() / S::F32_LANES * S::F32_LANES;
    for (i, at) in (0..whole).step_by(S::F32_LANES).enumerate() {
        // SAFETY: a whole register starts at `at`.
        let d = unsafe { Vf::load_ptr(s, x.as_ptr().add(at)) } - center;
        acc[i & 1] = d.mul_add(d, acc[i & 1]);
    }
    let tail: f32 = x[whole..].iter().map(|x| (x.widen() - mean) * (x.widen() - mean)).sum();
    (acc[0] + acc[1]).sum() + tail
}

/// What a block of rows of the forward pass works on.
struct Block<'a, X, G, Y> {
    cols: usize,
    eps: f32,
    source: Source<'a, X>,
    gamma: &'a [G],
    beta: &'a [G],
    y: &'a mut [Y],
    mean: &'a mut [f32],
    rstd: &'a mut [f32],
}

dispatch!(fn forward_block<X, G, Y>(block: Block<'_, X, G, Y>) = forward_block_body);

#[inline(always)]
fn forward_block_body<S: Simd, X: Element, G: Element, Y: Element>(s: S, block: Block<'_, X, G, Y>) {
    let Block { cols, eps, mut source, gamma, beta, y, mean, rstd } = block;
    for i in 0..mean.len() {
        let r = i * cols..(i + 1) * cols;
        let y = y[r.clone()].as_mut_ptr();
        // SAFETY: both are rows of `cols` values; `x` is the row of `y` itself or lies in another buffer.
        let stats = unsafe {
            match &mut source {
                Source::Held => forward_row(s, y.cast_const(), gamma, beta, y, eps),
                Source::Given(x) => forward_row(s, x[r].as_ptr(), gamma, beta, y, eps),
                Source::Sum { x, residual, sum } => {
                    let sum = add_row(s, x.map(|x| &x[r.clone()]), &residual[r.clone()], &mut sum[r]);
                    forward_row(s, sum.as_ptr(), gamma, beta, y, eps)
                }
            }
        };
        (mean[i], rstd[i]) = stats;
    }
}

/// Both forward functions.
fn forward<X: Element, G: Element, Y: Element>(
    name: &'static str,
    (rows, cols, eps): (usize, usize, f32),
    source: Source<'_, X>,
    (gamma, beta): (&[G], &[G]),
    y: &mut [Y],
    mean: &mut [f32],
    rstd: &mut [f32],
) -> Result<(), KernelError> {
    let source = source.share(name, rows * cols)?;
    need(name, "gamma", gamma.len(), cols)?;
    need(name, "beta", beta.len(), cols)?;
    need(name, "y", y.len(), rows * cols)?;
    need(name, "mean", mean.len(), rows)?;
    need(name, "rstd", rstd.len(), rows)?;
    let (y, mean, rstd) = (SharedMut::new(y), SharedMut::new(mean), SharedMut::new(rstd));
    let (gamma, beta) = (&gamma[..cols], &beta[..cols]);
    let per_task = rows_per_task(cols);
    parallel::for_each(rows.div_ceil(per_task), |task| {
        let r = chunk_range(rows, per_task, task);
        let (start, len) = (r.start * cols, r.len() * cols);
        // SAFETY: tasks own disjoint rows, and the lengths were checked.
        let block = unsafe {
            Block {
                cols,
                eps,
                source: source.rows(start, len),
                gamma,
                beta,
                y: y.slice(start, len),
                mean: mean.slice(r.start, r.len()),
                rstd: rstd.slice(r.start, r.len()),
            }
        };
        forward_block(block);
    });
    Ok(())
}

/// Layer norm of `x: [rows, cols]`: `y = (x - mean) rstd gamma + beta`, with `gamma, beta: [cols]`; `mean` and
/// `rstd`, both `[rows]`, are kept for the gradient. Without `x`, `y` holds it before.
///
/// # Errors
/// Where a buffer is too short.
pub fn layer_norm<X: Element, G: Element, Y: Element>(
    rows: usize,
    cols: usize,
    eps: f32,
    x: Option<&[X]>,
    gamma: &[G],
    beta: &[G],
    y: &mut [Y],
    mean: &mut [f32],
    rstd: &mut [f32],
) -> Result<(), KernelError> {
    let source = x.map_or(Source::Held, Source::Given);
    forward("layer_norm", (rows, cols, eps), source, (gamma, beta), y, mean, rstd)
}

/// `sum = x + residual; y = layer_norm(sum)`, in one pass; shapes as [`layer_norm`]. Without `x`, `sum` holds it
/// before.
///
/// # Errors
/// Where a buffer is too short.
pub fn add_layer_norm<R: Element, G: Element, Y: Element>(
    rows: usize,
    cols: usize,
    eps: f32,
    x: Option<&[f32]>,
    residual: &[R],
    gamma: &[G],
    beta: &[G],
    sum: &mut [f32],
    y: &mut [Y],
    mean: &mut [f32],
    rstd: &mut [f32],
) -> Result<(), KernelError> {
    let source = Source::Sum { x, residual, sum };
    forward("add_layer_norm", (rows, cols, eps), source, (gamma, beta), y, mean, rstd)
}

/// What a block of rows of the gradient works on.
struct GradBlock<'a, X, G, D, O> {
    cols: usize,
    x: &'a [X],
    gamma: &'a [G],
    mean: &'a [f32],
    rstd: &'a [f32],
    dy: &'a [D],
    d_sum: Incoming<'a>,
    /// Empty where nobody wants it.
    dx: &'a mut [O],
    /// `[2, cols]`: partial gradients of `gamma` and `beta`; empty where nobody wants them.
    partial: &'a mut [f32],
}

dispatch!(fn grad_block<X, G, D, O>(block: GradBlock<'_, X, G, D, O>) = grad_block_body);

#[inline(always)]
fn grad_block_body<S: Simd, X: Element, G: Element, D: Element, O: Element>(
    s: S,
    block: GradBlock<'_, X, G, D, O>,
) {
    let cols = block.cols;
    let lanes = S::F32_LANES;
    block.partial.fill(0.0);
    let gains = !block.partial.is_empty();
    let (dgamma, dbeta) = block.partial.split_at_mut(if gains { cols } else { 0 });
    for i in 0..block.mean.len() {
        let r = i * cols..(i + 1) * cols;
        let (x, dy) = (&block.x[r.clone()], &block.dy[r.clone()]);
        let d_sum = block.d_sum.rows(r.clone());
        let (center, scale) = (Vf::splat(s, block.mean[i]), Vf::splat(s, block.rstd[i]));
        // First sweep: both row sums, and the gradients of the gains.
        let (mut a, mut b) = (Vf::zero(s), Vf::zero(s));
        for j in (0..cols).step_by(lanes) {
            let e = (j + lanes).min(cols);
            let dy = Vf::load(s, &dy[j..e]);
            let x = Vf::load(s, &x[j..e]);
            let g = Vf::load(s, &block.gamma[j..e]);
            let hat = (x - center) * scale;
            let dyg = dy * g;
            a = a + dyg;
            b = dyg.mul_add(hat, b);
            if gains {
                let (dg, db) = (&mut dgamma[j..e], &mut dbeta[j..e]);
                dy.mul_add(hat, Vf::load(s, dg)).store(dg);
                (Vf::load(s, db) + dy).store(db);
            }
        }
        if block.dx.is_empty() {
            continue;
        }
        let dx = &mut block.dx[r];
        let a = Vf::splat(s, a.sum() / cols as f32);
        let b = Vf::splat(s, b.sum() / cols as f32);
        for j in (0..cols).step_by(lanes) {
            let e = (j + lanes).min(cols);
            let dyg = Vf::load(s, &dy[j..e]) * Vf::load(s, &block.gamma[j..e]);
            let hat = (Vf::load(s, &x[j..e]) - center) * scale;
            let mut d = (dyg - hat.mul_add(b, a)) * scale;
            match d_sum {
                Incoming::None => {}
                Incoming::Add(d_sum) => d = d + Vf::load(s, &d_sum[j..e]),
                Incoming::Held => d = d + Vf::load(s, &dx[j..e]),
            }
            d.store(&mut dx[j..e]);
        }
    }
}

/// The gradient of [`layer_norm`] and [`add_layer_norm`].
///
/// `x` is what was normalised (`sum` of the fused form); `d_sum` is a gradient that may reach it from
/// elsewhere and is added, so that `dx` is the gradient of both addends. `dgamma`, `dbeta`: `[cols]`.
/// `scratch`: [`norm_grad_scratch_len`]`(rows, cols, 2)` values. A result that is empty is not computed.
///
/// # Errors
/// Where a buffer is too short.
pub fn layer_norm_grad<X: Element, G: Element, D: Element, O: Element>(
    rows: usize,
    cols: usize,
    x: &[X],
    gamma: &[G],
    mean: &[f32],
    rstd: &[f32],
    dy: &[D],
    d_sum: Incoming<'_>,
    dx: &mut [O],
    dgamma: &mut [f32],
    dbeta: &mut [f32],
    scratch: &mut [f32],
) -> Result<(), KernelError> {
    let name = "layer_norm_grad";
    need(name, "x", x.len(), rows * cols)?;
    need(name, "gamma", gamma.len(), cols)?;
    need(name, "mean", mean.len(), rows)?;
    need(name, "rstd", rstd.len(), rows)?;
    need(name, "dy", dy.len(), rows * cols)?;
    d_sum.check(name, rows * cols)?;
    let wants_dx = wanted(name, "dx", dx.len(), rows * cols)?;
    let (wants_dgamma, wants_dbeta) =
        (wanted(name, "dgamma", dgamma.len(), cols)?, wanted(name, "dbeta", dbeta.len(), cols)?);
    let gains = wants_dgamma || wants_dbeta;
    need(name, "scratch", scratch.len(), norm_grad_scratch_len(rows, cols, 2))?;
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
                    mean: &mean[r.clone()],
                    rstd: &rstd[r],
                    dy: &dy[start..start + len],
                    d_sum: d_sum.rows(start..start + len),
                    dx: if wants_dx { dx.slice(start, len) } else { &mut [] },
                    partial: if gains { partials.slice(task * 2 * cols, 2 * cols) } else { &mut [] },
                }
            };
            grad_block(block);
        });
    }
    if wants_dgamma {
        sum_partials(&scratch[..tasks * 2 * cols], 2 * cols, &mut dgamma[..cols]);
    }
    if wants_dbeta {
        sum_partials(scratch.get(cols..tasks * 2 * cols).unwrap_or(&[]), 2 * cols, &mut dbeta[..cols]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::kernels::testing::{assert_close, on_threads, random};

    /// Output, mean and rstd in `f64`.
    fn reference(cols: usize, eps: f64, x: &[f64], gamma: &[f32], beta: &[f32]) -> Vec<f64> {
        x.chunks(cols)
            .flat_map(|row| {
                let mean = row.iter().sum::<f64>() / cols as f64;
                let var = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / cols as f64;
                let rstd = 1.0 / (var + eps).sqrt();
                row.iter()
                    .enumerate()
                    .map(|(j, x)| (x - mean) * rstd * f64::from(gamma[j]) + f64::from(beta[j]))
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    fn check(rows: usize, cols: usize) {
        let (x, r) = (random(1, rows * cols), random(2, rows * cols));
        let (gamma, beta) = (random(3, cols), random(4, cols));
        let n = rows * cols;
        let (mut y, mut sum) = (vec![0.0; n], vec![0.0; n]);
        let (mut mean, mut rstd) = (vec![0.0; rows], vec![0.0; rows]);
        let wide: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
        let to32 = |v: Vec<f64>| v.into_iter().map(|x| x as f32).collect::<Vec<f32>>();
        layer_norm(rows, cols, 1e-5, Some(&x), &gamma, &beta, &mut y, &mut mean, &mut rstd).unwrap();
        assert_close(&y, &to32(reference(cols, 1e-5, &wide, &gamma, &beta)), 2e-5);

        add_layer_norm(rows, cols, 1e-5, Some(&x), &r, &gamma, &beta, &mut sum, &mut y, &mut mean, &mut rstd)
            .unwrap();
        let wide: Vec<f64> = sum.iter().map(|x| f64::from(*x)).collect();
        assert_close(&sum, &x.iter().zip(&r).map(|(x, r)| x + r).collect::<Vec<_>>(), 0.0);
        assert_close(&y, &to32(reference(cols, 1e-5, &wide, &gamma, &beta)), 2e-5);

        // Gradients against finite differences of sum(y * dy) in f64.
        let dy = random(5, n);
        let d_sum = random(6, n);
        let (mut dx, mut dg, mut db) = (vec![0.0; n], vec![f32::NAN; cols], vec![f32::NAN; cols]);
        let mut scratch = vec![f32::NAN; norm_grad_scratch_len(rows, cols, 2)];
        layer_norm_grad(
            rows,
            cols,
            &sum,
            &gamma,
            &mean,
            &rstd,
            &dy,
            Incoming::Add(&d_sum),
            &mut dx,
            &mut dg,
            &mut db,
            &mut scratch,
        )
        .unwrap();
        let mut held = d_sum.clone();
        layer_norm_grad(
            rows,
            cols,
            &sum,
            &gamma,
            &mean,
            &rstd,
            &dy,
            Incoming::Held,
            &mut held,
            &mut dg.clone(),
            &mut db.clone(),
            &mut scratch,
        )
        .unwrap();
        assert_eq!(held, dx);
        let mut in_place = x.clone();
        let mut second = vec![0.0; n];
        add_layer_norm(
            rows,
            cols,
            1e-5,
            None,
            &r,
            &gamma,
            &beta,
            &mut in_place,
            &mut second,
            &mut mean.clone(),
            &mut rstd.clone(),
        )
        .unwrap();
        assert_eq!((&in_place, &second), (&sum, &y));
        layer_norm(
            rows,
            cols,
            1e-5,
            None::<&[f32]>,
            &gamma,
            &beta,
            &mut in_place,
            &mut mean.clone(),
            &mut rstd.clone(),
        )
        .unwrap();
        assert_eq!(in_place, y);
        let loss = |x: &[f64], g: &[f32]| -> f64 {
            reference(cols, 1e-5, x, g, &beta).iter().zip(&dy).map(|(y, d)| y * f64::from(*d)).sum()
        };
        for i in (0..n).step_by(n / 40 + 1) {
            let h = 1e-4;
            let (mut hi, mut lo) = (wide.clone(), wide.clone());
            hi[i] += h;
            lo[i] -= h;
            let want = (loss(&hi, &gamma) - loss(&lo, &gamma)) / (2.0 * h) + f64::from(d_sum[i]);
            assert!((f64::from(dx[i]) - want).abs() < 3e-4 * want.abs().max(1.0), "dx[{i}] {} {want}", dx[i]);
        }
        for j in 0..cols {
            let hat = |i: usize| (sum[i * cols + j] - mean[i]) * rstd[i];
            let want: f32 = (0..rows).map(|i| dy[i * cols + j] * hat(i)).sum::<f32>();
            assert!((dg[j] - want).abs() < 1e-3);
            let want: f32 = (0..rows).map(|i| dy[i * cols + j]).sum::<f32>();
            assert!((db[j] - want).abs() < 1e-3);
        }
    }

    #[test]
    fn odd_sizes_match_f64() {
        for (rows, cols) in [(1, 2), (3, 7), (5, 96), (400, 33), (2, 300)] {
            check(rows, cols);
        }
    }

    #[test]
    fn the_number_of_threads_does_not_show() {
        let (rows, cols) = (700, 65);
        let (x, g, dy) = (random(1, rows * cols), random(2, cols), random(3, rows * cols));
        let run = |threads| {
            let (mut y, mut dx) = (vec![0.0; rows * cols], vec![0.0; rows * cols]);
            let (mut m, mut r) = (vec![0.0; rows], vec![0.0; rows]);
            let (mut dg, mut db) = (vec![0.0; cols], vec![0.0; cols]);
            let mut scratch = vec![0.0; norm_grad_scratch_len(rows, cols, 2)];
            on_threads(threads, || {
                layer_norm(rows, cols, 1e-5, Some(&x), &g, &g, &mut y, &mut m, &mut r).unwrap();
                layer_norm_grad(
                    rows,
                    cols,
                    &x,
                    &g,
                    &m,
                    &r,
                    &dy,
                    Incoming::None,
                    &mut dx,
                    &mut dg,
                    &mut db,
                    &mut scratch,
                )
                .unwrap();
            });
            (y, dx, dg, db)
        };
        assert_eq!(run(1), run(3));
    }
}
