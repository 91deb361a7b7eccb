//! Attention pooling: a few learned queries over many rows, read once.

use crossloom_ir::TensorType;
use crossloom_ir::op::{AttnPool, AttnPoolGrad};

use crate::exec::io::{CpuKernel, Io, KernelError, Lowered};
use crate::kernels::{sum_rows, sum_rows_scratch_len};
use crate::math::exp_v;
use crate::parallel::{self, SharedMut};
use crate::simd::{self, Simd, Vf, dispatch, update1};

/// Groups of rows, rows per group, queries, width.
#[derive(Clone, Copy)]
struct Shape {
    groups: usize,
    rows: usize,
    queries: usize,
    width: usize,
}

impl Shape {
    fn of(x: &TensorType, w: &TensorType) -> Self {
        Self { groups: x.shape[0], rows: x.shape[1], queries: w.shape[0], width: w.shape[1] }
    }
}

struct Pool {
    shape: Shape,
    scale: f32,
    masked: bool,
}

struct PoolGrad {
    shape: Shape,
    scale: f32,
}

pub(super) fn lower(op: AttnPool, inputs: &[&TensorType]) -> Lowered {
    let shape = Shape::of(inputs[0], inputs[1]);
    Lowered::new("attn_pool", Pool { shape, scale: op.scale as f32, masked: op.masked })
}

pub(super) fn lower_grad(op: AttnPoolGrad, inputs: &[&TensorType]) -> Lowered {
    let shape = Shape::of(inputs[1], inputs[2]);
    let parts = shape.groups * shape.queries * shape.width;
    let scratch =
        parts + shape.groups * shape.rows + sum_rows_scratch_len(shape.groups, shape.queries * shape.width);
    Lowered::with_scratch("attn_pool_grad", scratch, PoolGrad { shape, scale: op.scale as f32 })
}

impl CpuKernel for Pool {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [pooled, probs], _) = io.split()?;
        let (x, w) = (inputs.f32(0), inputs.f32(1));
        let mask = self.masked.then(|| inputs.f32(2));
        let Shape { groups, rows, queries, width } = self.shape;
        let (pooled, probs) = (SharedMut::new(pooled), SharedMut::new(probs));
        parallel::for_each(groups, |g| {
            // SAFETY: every group has its own part of both results.
            let (pooled, probs) = unsafe {
                (
                    pooled.slice(g * queries * width, queries * width),
                    probs.slice(g * queries * rows, queries * rows),
                )
            };
            let mask = mask.map(|mask| &mask[g * rows..(g + 1) * rows]);
            pool_group(
                self.scale,
                width,
                &x[g * rows * width..(g + 1) * rows * width],
                w,
                mask,
                pooled,
                probs,
            );
        });
        Ok(())
    }
}

dispatch!(fn pool_group(scale: f32, width: usize, x: &[f32], w: &[f32], mask: Option<&[f32]>, pooled: &mut [f32], probs: &mut [f32]) = pool_body);

#[inline(always)]
fn pool_body<S: Simd>(
    s: S,
    scale: f32,
    width: usize,
    x: &[f32],
    w: &[f32],
    mask: Option<&[f32]>,
    pooled: &mut [f32],
    probs: &mut [f32],
) {
    let rows = x.len() / width;
    pooled.fill(0.0);
    for ((query, pooled), probs) in
        w.chunks_exact(width).zip(pooled.chunks_exact_mut(width)).zip(probs.chunks_exact_mut(rows))
    {
        for (n, p) in probs.iter_mut().enumerate() {
            let kept = mask.is_none_or(|mask| mask[n] != 0.0);
            *p = if kept {
                scale * simd::dot(s, &x[n * width..(n + 1) * width], query)
            } else {
                f32::NEG_INFINITY
            };
        }
        let largest = simd::max(s, probs);
        if largest == f32::NEG_INFINITY {
            probs.fill(0.0);
            continue;
        }
        // A row that is left out has score -infinity, whose exponential is 0.
        let shift = Vf::splat(s, largest);
        simd::update0!(s, probs, |p| exp_v(p - shift));
        let inverse = simd::sum(s, probs).recip();
        for (n, p) in probs.iter_mut().enumerate() {
            *p *= inverse;
            let factor = Vf::splat(s, *p);
            update1!(s, &x[n * width..(n + 1) * width], pooled, |x, y| x.mul_add(factor, y));
        }
    }
}

impl CpuKernel for PoolGrad {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [dx, dw], scratch) = io.split()?;
        let (dpooled, x, w, probs) = (inputs.f32(0), inputs.f32(1), inputs.f32(2), inputs.f32(3));
        let Shape { groups, rows, queries, width } = self.shape;
        let (parts, rest) = scratch.split_at_mut(groups * queries * width);
        let (slopes, rest) = rest.split_at_mut(groups * rows);
        {
            let (dx, parts, slopes) = (SharedMut::new(dx), SharedMut::new(parts), SharedMut::new(slopes));
            parallel::for_each(groups, |g| {
                // SAFETY: every group has its own part of the result and of the scratch.
                let (dx, part, slopes) = unsafe {
                    (
                        dx.slice(g * rows * width, rows * width),
                        parts.slice(g * queries * width, queries * width),
                        slopes.slice(g * rows, rows),
                    )
                };
                let group = Group {
                    dpooled: &dpooled[g * queries * width..(g + 1) * queries * width],
                    x: &x[g * rows * width..(g + 1) * rows * width],
                    w,
                    probs: &probs[g * queries * rows..(g + 1) * queries * rows],
                };
                grad_group(self.scale, width, group, dx, part, slopes);
            });
        }
        Ok(sum_rows(groups, queries * width, parts, dw, false, rest)?)
    }
}

/// Operands of one group.
struct Group<'a> {
    dpooled: &'a [f32],
    x: &'a [f32],
    w: &'a [f32],
    probs: &'a [f32],
}

dispatch!(fn grad_group(scale: f32, width: usize, group: Group<'_>, dx: &mut [f32], dw: &mut [f32], slopes: &mut [f32]) = grad_body);

#[inline(always)]
fn grad_body<S: Simd>(
    s: S,
    scale: f32,
    width: usize,
    group: Group<'_>,
    dx: &mut [f32],
    dw: &mut [f32],
    slopes: &mut [f32],
) {
    let rows = slopes.len();
    dx.fill(0.0);
    dw.fill(0.0);
    for (h, query) in group.w.chunks_exact(width).enumerate() {
        let dpooled = &group.dpooled[h * width..(h + 1) * width];
        let probs = &group.probs[h * rows..(h + 1) * rows];
        let mut mean = 0.0;
        for (n, slope) in slopes.iter_mut().enumerate() {
            *slope = simd::dot(s, &group.x[n * width..(n + 1) * width], dpooled);
            mean += probs[n] * *slope;
        }
        let dw = &mut dw[h * width..(h + 1) * width];
        for n in 0..rows {
            let ds = Vf::splat(s, scale * probs[n] * (slopes[n] - mean));
            let p = Vf::splat(s, probs[n]);
            let dx = &mut dx[n * width..(n + 1) * width];
            update1!(s, dpooled, dx, |d, y| d.mul_add(p, y));
            update1!(s, query, dx, |q, y| q.mul_add(ds, y));
            update1!(s, &group.x[n * width..(n + 1) * width], dw, |x, y| x.mul_add(ds, y));
        }
    }
}
