//! Pooling rows by attention with fixed queries: one sweep over the rows for all queries.
//!
//! Rows are taken in tiles of 64; a running softmax (as in attention) lets every tile be read once, while it is in the
//! cache, for scores and for the weighted sum. Narrow rows are widened tile by tile, and narrow results are rounded when
//! their sums are complete.

use super::convert::convert;
use super::error::{KernelError, need, wanted};
use super::gemm::{Left, Update, gemm_serial, pack_columns, packed_len};
use super::reduce::sum_partials_to;
use crate::element::{Element, Floats, FloatsMut, rounded};
use crate::math::exp_v;
use crate::parallel::{self, SharedFloats, SharedMut};
use crate::simd::{self, Simd, Vf, dispatch, update0};

/// Rows of a tile.
const TILE: usize = 64;
/// Columns of a packed panel.
const PANEL: usize = 32;
/// Where running maxima start: low, but finite.
const LOW: f32 = -1e30;

/// The shape of a pooling: `x [groups, rows, cols]`, queries `w [heads, cols]`, `pooled [groups, heads, cols]`,
/// `probs [groups, heads, rows]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttnPool {
    /// Groups, pooled separately.
    pub groups: usize,
    /// Rows of a group.
    pub rows: usize,
    /// Values of a row.
    pub cols: usize,
    /// Queries.
    pub heads: usize,
    /// Factor of the scores.
    pub scale: f32,
}

impl AttnPool {
    /// Values of the transposed queries (or gradients) in panels.
    fn packed(&self) -> usize {
        packed_len(self.cols, self.heads)
    }

    /// Values of a tile of scores, `[TILE, heads]`.
    fn tile(&self) -> usize {
        TILE * self.heads
    }

    /// Values of the queries, and of what is pooled of a group.
    fn queries(&self) -> usize {
        self.heads * self.cols
    }

    /// Values of a tile of rows.
    fn row_tile(&self) -> usize {
        TILE * self.cols
    }

    /// Scratch values of a group: scores, weights and states; where something `is_narrow`, rows that are widened, and the
    /// sums of what is pooled.
    fn own(&self, is_narrow: bool) -> usize {
        let room = if is_narrow { self.row_tile() + self.queries() } else { 0 };
        2 * self.tile() + 3 * self.heads + room
    }

    /// As [`AttnPool::own`], of the gradient: transposed gradients, scores, their gradients and means; where something
    /// `is_narrow`, rows and gradients that are widened, and the sums of a tile's gradients.
    fn grad_own(&self, is_narrow: bool) -> usize {
        let room = if is_narrow { 2 * self.row_tile() + self.queries() } else { 0 };
        self.packed() + 2 * self.tile() + self.heads + room
    }

    /// Scratch values of [`attn_pool`], of which an operand or result `is_narrow` or none.
    pub fn scratch_len(&self, is_narrow: bool) -> usize {
        self.packed() + self.groups * self.own(is_narrow)
    }

    /// Scratch values of [`attn_pool_grad`], of which an operand or result `is_narrow` or none.
    pub fn grad_scratch_len(&self, is_narrow: bool) -> usize {
        let widened = if is_narrow { self.queries() } else { 0 };
        widened + self.groups * (self.grad_own(is_narrow) + self.queries())
    }

    fn check(
        &self,
        name: &'static str,
        x: Floats<'_>,
        w: Floats<'_>,
        probs: usize,
    ) -> Result<(), KernelError> {
        need(name, "x", x.len(), self.groups * self.rows * self.cols)?;
        need(name, "w", w.len(), self.queries())?;
        need(name, "probs", probs, self.groups * self.heads * self.rows)
    }
}

dispatch!(fn pack<E>(p: &AttnPool, m: &[E], out: &mut [f32]) = pack_body);

/// Packs `m [heads, cols]` transposed, in panels of 32 heads.
#[inline(always)]
fn pack_body<S: Simd, E: Element>(s: S, p: &AttnPool, m: &[E], out: &mut [f32]) {
    for (panel, out) in out.chunks_exact_mut((p.cols * PANEL).max(1)).enumerate() {
        let first = panel * PANEL;
        if first < p.heads && p.cols > 0 {
            // SAFETY: rows `first ..` of `m` exist, `cols` values each, and `out` holds a panel.
            unsafe {
                let heads = PANEL.min(p.heads - first);
                pack_columns(s, m.as_ptr().add(first * p.cols), p.cols, p.cols, heads, out);
            }
        }
    }
}

/// `c [n, heads] = alpha x[n, cols] packed`, row `i` of `x` at `x + i * cols`.
///
/// # Safety
/// `x` has `n` rows, `packed` is a packed `[cols, heads]` matrix, `c` holds `n * heads` values that nobody else uses.
#[inline(always)]
unsafe fn scores<S: Simd>(
    s: S,
    p: &AttnPool,
    n: usize,
    x: *const f32,
    packed: &[f32],
    alpha: f32,
    c: *mut f32,
) {
    for (panel, b) in packed.chunks_exact((p.cols * PANEL).max(1)).enumerate() {
        let first = panel * PANEL;
        let heads = PANEL.min(p.heads - first);
        let left = Left { ptr: x, row: p.cols, col: 1 };
        // SAFETY: as promised by the caller; the panel is zero-padded to 32 columns.
        unsafe {
            let c = c.add(first);
            gemm_serial::<S, true>(
                s,
                n,
                heads,
                p.cols,
                left,
                b.as_ptr(),
                PANEL,
                c,
                p.heads,
                alpha,
                Update::Set,
            );
        }
    }
}

/// `pooled = sum_n p x_n` with `p = softmax_n(scale x_n . w_h)`, for every group and query; `probs` keeps `p`.
///
/// `mask [groups, rows]`: rows where it is 0 are left out, and a group without rows pools to 0. `scratch` holds
/// [`AttnPool::scratch_len`] values.
///
/// # Errors
/// Where a buffer is too short.
pub fn attn_pool<'a>(
    p: &AttnPool,
    x: impl Into<Floats<'a>>,
    w: impl Into<Floats<'a>>,
    mask: Option<&[f32]>,
    pooled: impl Into<FloatsMut<'a>>,
    probs: &mut [f32],
    scratch: &mut [f32],
) -> Result<(), KernelError> {
    forward(p, x.into(), w.into(), mask, pooled.into(), probs, scratch)
}

fn forward(
    p: &AttnPool,
    x: Floats<'_>,
    w: Floats<'_>,
    mask: Option<&[f32]>,
    pooled: FloatsMut<'_>,
    probs: &mut [f32],
    scratch: &mut [f32],
) -> Result<(), KernelError> {
    let is_narrow = x.is_narrow() || w.is_narrow() || pooled.is_narrow();
    p.check("attn_pool", x, w, probs.len())?;
    need("attn_pool", "mask", mask.map_or(p.groups * p.rows, <[f32]>::len), p.groups * p.rows)?;
    need("attn_pool", "pooled", pooled.len(), p.groups * p.queries())?;
    need("attn_pool", "scratch", scratch.len(), p.scratch_len(is_narrow))?;
    let (packed, rest) = scratch.split_at_mut(p.packed());
    match w {
        Floats::F32(w) => pack(p, w, packed),
        Floats::Bf16(w) => pack(p, w, packed),
    }
    let packed: &[f32] = packed;
    let own = p.own(is_narrow);
    let (pooled, probs, rest) = (SharedFloats::new(pooled), SharedMut::new(probs), SharedMut::new(rest));
    parallel::for_each(p.groups, |g| {
        // SAFETY: tasks own disjoint groups and disjoint scratch.
        let (pooled, probs, scratch) = unsafe {
            (
                pooled.slice(g * p.queries(), p.queries()),
                probs.slice(g * p.heads * p.rows, p.heads * p.rows),
                rest.slice(g * own, own),
            )
        };
        let mask = mask.map(|m| &m[g * p.rows..(g + 1) * p.rows]);
        forward_group(p, (x, g), packed, mask, pooled, probs, scratch);
    });
    Ok(())
}

dispatch!(
    fn forward_group(
        p: &AttnPool,
        x: (Floats<'_>, usize),
        packed: &[f32],
        mask: Option<&[f32]>,
        pooled: FloatsMut<'_>,
        probs: &mut [f32],
        scratch: &mut [f32],
    ) = forward_body
);

/// Pools one group: `x` are all rows, and the group's number.
#[inline(always)]
fn forward_body<S: Simd>(
    s: S,
    p: &AttnPool,
    (x, g): (Floats<'_>, usize),
    packed: &[f32],
    mask: Option<&[f32]>,
    pooled: FloatsMut<'_>,
    probs: &mut [f32],
    scratch: &mut [f32],
) {
    let (tile, scratch) = scratch.split_at_mut(p.tile());
    let (weights, scratch) = scratch.split_at_mut(p.tile());
    let (highest, scratch) = scratch.split_at_mut(p.heads);
    let (total, scratch) = scratch.split_at_mut(p.heads);
    let (factor, room) = scratch.split_at_mut(p.heads);
    let (widened, room) = room.split_at_mut(room.len().min(p.row_tile()));
    let (pooled, narrow) = pooled.sums(room);
    highest.fill(LOW);
    total.fill(0.0);
    pooled.fill(0.0);
    for first in (0..p.rows).step_by(TILE) {
        let n = TILE.min(p.rows - first);
        let at = (g * p.rows + first) * p.cols;
        let rows = x.widened(s, at..at + n * p.cols, widened);
        // SAFETY: `rows` has `n` rows; the tile holds `TILE >= n` rows of `heads`.
        unsafe { scores(s, p, n, rows.as_ptr(), packed, p.scale, tile.as_mut_ptr()) };
        for h in 0..p.heads {
            // Scores of one query side by side, kept raw in `probs` until the sums are known.
            let raw = &mut probs[h * p.rows + first..][..n];
            for (i, raw) in raw.iter_mut().enumerate() {
                let kept = mask.is_none_or(|m| m[first + i] != 0.0);
                *raw = if kept { tile[i * p.heads + h] } else { f32::NEG_INFINITY };
            }
            let top = simd::max(s, raw).max(highest[h]);
            factor[h] = highest[h] - top;
            highest[h] = top;
            let shift = Vf::splat(s, top);
            let weights = &mut weights[h * TILE..][..n];
            simd::map1!(s, raw, weights, |x| exp_v(x - shift));
        }
        for h in 0..p.heads {
            let shrink = Vf::splat(s, factor[h]);
            let mut by = [0.0; 64];
            exp_v(shrink).store(&mut by[..1]);
            let by = by[0];
            total[h] = total[h] * by + simd::sum(s, &weights[h * TILE..][..n]);
            if first > 0 {
                let by = Vf::splat(s, by);
                update0!(s, &mut pooled[h * p.cols..(h + 1) * p.cols], |x| x * by);
            }
        }
        let left = Left { ptr: weights.as_ptr(), row: TILE, col: 1 };
        // SAFETY: weights are `[heads, TILE]`, `rows` is `[n, cols]`, `pooled` is `[heads, cols]`.
        unsafe {
            gemm_serial::<S, false>(
                s,
                p.heads,
                p.cols,
                n,
                left,
                rows.as_ptr(),
                p.cols,
                pooled.as_mut_ptr(),
                p.cols,
                1.0,
                Update::Add,
            );
        }
    }
    for h in 0..p.heads {
        let norm = Vf::splat(s, if total[h] == 0.0 { 0.0 } else { 1.0 / total[h] });
        let shift = Vf::splat(s, highest[h]);
        update0!(s, &mut pooled[h * p.cols..(h + 1) * p.cols], |x| x * norm);
        update0!(s, &mut probs[h * p.rows..(h + 1) * p.rows], |x| exp_v(x - shift) * norm);
    }
    rounded(s, pooled, narrow);
}

/// The gradient of [`attn_pool`]: `dx [groups, rows, cols]` and `dw [heads, cols]`, which is summed over groups in
/// order. Either is left out where it is empty. `scratch` holds [`AttnPool::grad_scratch_len`] values.
///
/// # Errors
/// Where a buffer is too short.
pub fn attn_pool_grad<'a>(
    p: &AttnPool,
    d_pooled: impl Into<Floats<'a>>,
    x: impl Into<Floats<'a>>,
    w: impl Into<Floats<'a>>,
    probs: &[f32],
    dx: impl Into<FloatsMut<'a>>,
    dw: impl Into<FloatsMut<'a>>,
    scratch: &mut [f32],
) -> Result<(), KernelError> {
    backward(p, [d_pooled.into(), x.into(), w.into()], probs, [dx.into(), dw.into()], scratch)
}

fn backward(
    p: &AttnPool,
    [d_pooled, x, w]: [Floats<'_>; 3],
    probs: &[f32],
    [dx, dw]: [FloatsMut<'_>; 2],
    scratch: &mut [f32],
) -> Result<(), KernelError> {
    let name = "attn_pool_grad";
    let is_narrow = [d_pooled, x, w].iter().any(Floats::is_narrow) || dx.is_narrow() || dw.is_narrow();
    let queries = p.queries();
    p.check(name, x, w, probs.len())?;
    need(name, "d_pooled", d_pooled.len(), p.groups * queries)?;
    let wants_rows = wanted(name, "dx", dx.len(), p.groups * p.rows * p.cols)?;
    let wants_queries = wanted(name, "dw", dw.len(), queries)?;
    need(name, "scratch", scratch.len(), p.grad_scratch_len(is_narrow))?;
    let (partials, rest) = scratch.split_at_mut(p.groups * queries);
    let (widened, rest) = rest.split_at_mut(if is_narrow { queries } else { 0 });
    let w = match w {
        Floats::F32(w) => &w[..queries],
        Floats::Bf16(w) => {
            convert(&w[..queries], widened)?;
            &*widened
        }
    };
    let own = p.grad_own(is_narrow);
    if wants_rows || wants_queries {
        let (dx, partials, rest) = (SharedFloats::new(dx), SharedMut::new(partials), SharedMut::new(rest));
        parallel::for_each(p.groups, |g| {
            // SAFETY: tasks own disjoint groups and disjoint scratch.
            let group = unsafe {
                Group {
                    g,
                    d_pooled,
                    x,
                    w,
                    probs: &probs[g * p.heads * p.rows..(g + 1) * p.heads * p.rows],
                    dx: wants_rows.then_some(dx),
                    dw: wants_queries.then(|| partials.slice(g * queries, queries)),
                    scratch: rest.slice(g * own, own),
                }
            };
            grad_group(p, group);
        });
    }
    match dw {
        _ if !wants_queries => {}
        FloatsMut::F32(dw) => sum_partials_to(partials, queries, (&mut dw[..queries]).into()),
        FloatsMut::Bf16(dw) => sum_partials_to(partials, queries, (&mut dw[..queries]).into()),
    }
    Ok(())
}

/// One group of the gradient; operands are those of all groups, but for the probabilities.
struct Group<'a> {
    g: usize,
    d_pooled: Floats<'a>,
    x: Floats<'a>,
    w: &'a [f32],
    probs: &'a [f32],
    dx: Option<SharedFloats<'a>>,
    dw: Option<&'a mut [f32]>,
    scratch: &'a mut [f32],
}

dispatch!(fn grad_group(p: &AttnPool, group: Group<'_>) = grad_body);

#[inline(always)]
fn grad_body<S: Simd>(s: S, p: &AttnPool, group: Group<'_>) {
    let Group { g, d_pooled, x, w, probs, dx, mut dw, scratch } = group;
    let (packed, scratch) = scratch.split_at_mut(p.packed());
    let (tile, scratch) = scratch.split_at_mut(p.tile());
    let (d_scores, scratch) = scratch.split_at_mut(p.tile());
    let (mean, scratch) = scratch.split_at_mut(p.heads);
    let (widened, scratch) = scratch.split_at_mut(scratch.len().min(p.row_tile()));
    let (sums, of_queries) = scratch.split_at_mut(scratch.len().min(p.row_tile()));
    let d_pooled = d_pooled.widened(s, g * p.queries()..(g + 1) * p.queries(), of_queries);
    pack(p, d_pooled, packed);
    let packed: &[f32] = packed;
    // First sweep: sum_n p dp, one number per query.
    mean.fill(0.0);
    let tiles = || (0..p.rows).step_by(TILE).map(|first| (first, TILE.min(p.rows - first)));
    let place = |first: usize, n: usize| (g * p.rows + first) * p.cols..(g * p.rows + first + n) * p.cols;
    let one_tile = p.rows <= TILE;
    for (first, n) in tiles() {
        let rows = x.widened(s, place(first, n), widened);
        // SAFETY: there are `n` rows; the tile holds `TILE >= n` rows of `heads`.
        unsafe { scores(s, p, n, rows.as_ptr(), packed, 1.0, tile.as_mut_ptr()) };
        for h in 0..p.heads {
            let probs = &probs[h * p.rows + first..][..n];
            mean[h] += probs.iter().enumerate().map(|(i, w)| w * tile[i * p.heads + h]).sum::<f32>();
        }
    }
    if let Some(dw) = &mut dw {
        dw.fill(0.0);
    }
    for (first, n) in tiles() {
        let rows = x.widened(s, place(first, n), widened);
        if !one_tile {
            // SAFETY: as above.
            unsafe { scores(s, p, n, rows.as_ptr(), packed, 1.0, tile.as_mut_ptr()) };
        }
        for h in 0..p.heads {
            let probs = &probs[h * p.rows + first..][..n];
            for (i, d) in d_scores[h * TILE..][..n].iter_mut().enumerate() {
                *d = p.scale * probs[i] * (tile[i * p.heads + h] - mean[h]);
            }
        }
        if let Some(dx) = &dx {
            let place = place(first, n);
            // SAFETY: these rows belong to this group alone.
            let (dx, narrow) = unsafe { dx.slice(place.start, place.len()) }.sums(sums);
            // SAFETY: `dx` has `n` rows; probabilities are `[heads, rows]` and gradients of scores `[heads, TILE]`, read
            // transposed; `d_pooled` and `w` are `[heads, cols]`.
            unsafe {
                let left = Left { ptr: probs.as_ptr().add(first), row: 1, col: p.rows };
                let (b, c) = (d_pooled.as_ptr(), dx.as_mut_ptr());
                gemm_serial::<S, false>(s, n, p.cols, p.heads, left, b, p.cols, c, p.cols, 1.0, Update::Set);
                let left = Left { ptr: d_scores.as_ptr(), row: 1, col: TILE };
                let b = w.as_ptr();
                gemm_serial::<S, false>(s, n, p.cols, p.heads, left, b, p.cols, c, p.cols, 1.0, Update::Add);
            }
            rounded(s, dx, narrow);
        }
        if let Some(dw) = &mut dw {
            // SAFETY: gradients of scores are `[heads, TILE]`, `rows` is `[n, cols]` and `dw` `[heads, cols]`.
            unsafe {
                let left = Left { ptr: d_scores.as_ptr(), row: TILE, col: 1 };
                let (b, c) = (rows.as_ptr(), dw.as_mut_ptr());
                gemm_serial::<S, false>(s, p.heads, p.cols, n, left, b, p.cols, c, p.cols, 1.0, Update::Add);
            }
        }
    }
}

#[cfg(test)]
mod tests;
