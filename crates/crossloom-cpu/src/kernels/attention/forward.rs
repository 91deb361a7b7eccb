//! The forward pass: running softmax over blocks of keys.

use std::mem::MaybeUninit;

use super::mask::{Mask, Meet, fill_hidden};
use super::{Attention, KEYS, MAX_HEAD_DIM, QUERIES, SCORES, Slots, pack_head};
use crate::kernels::error::{KernelError, need};
use crate::kernels::gemm::{Left, Update, gemm_serial, packed_len};
use crate::kernels::view::{Mat, MatMut};
use crate::math::exp_v;
use crate::parallel::{self, SharedMut};
use crate::simd::{self, Simd, Vf, dispatch, update0};

/// Where the running maximum starts: low, but finite, so that masked scores of minus infinity give probability zero.
pub(super) const LOW: f32 = -1e30;

/// Attention: `o = softmax(scale q kᵀ + mask) v`, per head, and `lse [batch, heads, q_len]`, the log-sum-exp of the
/// scaled scores (minus infinity where a query sees nothing, and `o` is 0).
///
/// `segments [batch, k_len]`: everyone sees segment 0 and its own segment; padding (-1) sees itself only and is seen
/// by nobody else. Views may lie in one merged buffer. `scratch` holds [`Attention::scratch_len`] values.
///
/// # Errors
/// Where shapes do not agree or a buffer is too short.
pub fn attention(
    p: &Attention,
    q: Mat<'_>,
    k: Mat<'_>,
    v: Mat<'_>,
    segments: Option<&[i32]>,
    o: MatMut<'_>,
    lse: &mut [f32],
    scratch: &mut [f32],
) -> Result<(), KernelError> {
    let shape = |m: &Mat<'_>| (m.rows(), m.cols());
    p.check("attention", [shape(&q), shape(&k), shape(&v), shape(&o.as_ref())], segments, lse.len())?;
    need("attention", "scratch", scratch.len(), p.scratch_len())?;
    let head = p.packed_head();
    let packed = SharedMut::new(scratch);
    // With many heads, a task is a key head; with few, packing comes first and tiles of queries are tasks.
    let q_tasks = if p.batch * p.kv_heads >= 8 { 1 } else { p.q_len.div_ceil(QUERIES * 4).max(1) };
    let pack = |task: usize| {
        // SAFETY: each key head has its own part of the scratch.
        let out = unsafe { packed.slice(task * head, head) };
        let (sample, kv) = (task / p.kv_heads, task % p.kv_heads);
        pack_head(k, sample * p.k_len, p.k_len, kv * p.head_dim, p.head_dim, out);
    };
    if q_tasks > 1 {
        parallel::for_each(p.batch * p.kv_heads, pack);
    }
    let call = Call { p, q, v, segments, o, lse: SharedMut::new(lse) };
    parallel::for_each(p.batch * p.kv_heads * q_tasks, |task| {
        let (group, part) = (task / q_tasks, task % q_tasks);
        let tiles = p.q_len.div_ceil(QUERIES);
        if q_tasks == 1 {
            pack(group);
        }
        // SAFETY: packed above, by this task or before; nobody writes it any more.
        let keys: &[f32] = unsafe { packed.slice(group * head, head) };
        forward_task(&call, keys, group, tiles * part / q_tasks, tiles * (part + 1) / q_tasks);
    });
    Ok(())
}

/// The operands of a call.
struct Call<'a> {
    p: &'a Attention,
    q: Mat<'a>,
    v: Mat<'a>,
    segments: Option<&'a [i32]>,
    o: MatMut<'a>,
    lse: SharedMut<'a>,
}

dispatch!(
    fn forward_task(call: &Call<'_>, keys: &[f32], group: usize, first_tile: usize, end_tile: usize) =
        forward_body
);

/// Buffers of a tile, on the stack, written before they are read.
struct Tile {
    scores: MaybeUninit<[f32; QUERIES * SCORES]>,
    out: MaybeUninit<[f32; QUERIES * MAX_HEAD_DIM]>,
}

/// Tiles of queries of all heads that share a key head.
#[inline(always)]
fn forward_body<S: Simd>(
    s: S,
    call: &Call<'_>,
    keys: &[f32],
    group: usize,
    first_tile: usize,
    end_tile: usize,
) {
    let p = call.p;
    let (sample, kv) = (group / p.kv_heads, group % p.kv_heads);
    let mask = Mask::new(p, call.segments, sample);
    let mut tile = Tile { scores: MaybeUninit::uninit(), out: MaybeUninit::uninit() };
    for t in first_tile..end_tile {
        let q = t * QUERIES;
        let rows = QUERIES.min(p.q_len - q);
        for h in kv * p.group()..(kv + 1) * p.group() {
            forward_tile(s, call, keys, &mask, &mut tile, (sample, kv, h), q, rows);
        }
    }
}

/// One tile of queries of one head.
#[inline(always)]
fn forward_tile<S: Simd>(
    s: S,
    call: &Call<'_>,
    keys: &[f32],
    mask: &Mask<'_>,
    tile: &mut Tile,
    (sample, kv, h): (usize, usize, usize),
    q: usize,
    rows: usize,
) {
    let p = call.p;
    let hd = p.head_dim;
    let block_len = packed_len(hd, KEYS);
    let scores = tile.scores.as_mut_ptr().cast::<f32>();
    let out = tile.out.as_mut_ptr().cast::<f32>();
    let first_row = sample * p.q_len + q;
    // SAFETY: the tile's queries are rows of `q`, by `check`.
    let queries = unsafe { call.q.ptr().add(first_row * call.q.row_stride() + h * hd) };
    let queries = Left { ptr: queries, row: call.q.row_stride(), col: 1 };
    let mut highest = [LOW; QUERIES];
    let mut total = [0.0_f32; QUERIES];
    let mut fresh = true;
    let mut next = 0;
    while let Some(slots) = Slots::collect(mask, q, rows, p.blocks(), &mut next) {
        let width = slots.count * KEYS;
        for slot in 0..slots.count {
            // SAFETY: the packed block is `[hd, 32]`; the score buffer has `rows <= QUERIES` rows of `SCORES`.
            unsafe {
                let block = keys.as_ptr().add(slots.block[slot] * block_len);
                let to = scores.add(slot * KEYS);
                gemm_serial::<S, true>(
                    s,
                    rows,
                    KEYS,
                    hd,
                    queries,
                    block,
                    KEYS,
                    to,
                    SCORES,
                    p.scale,
                    Update::Set,
                );
            }
            if slots.meet[slot] == Meet::Some {
                let keys = mask.keys_of(slots.block[slot]);
                for i in 0..rows {
                    // SAFETY: these 32 scores were written just now.
                    let x =
                        unsafe { std::slice::from_raw_parts_mut(scores.add(i * SCORES + slot * KEYS), KEYS) };
                    fill_hidden(s, &keys, mask.query(q + i), x, f32::NEG_INFINITY);
                }
            }
        }
        let factors = softmax_step(s, scores, rows, width, &mut highest, &mut total);
        if !fresh {
            for (i, factor) in factors.iter().enumerate().take(rows) {
                // SAFETY: row `i` of the output tile was written by the first round.
                let row = unsafe { std::slice::from_raw_parts_mut(out.add(i * hd), hd) };
                let factor = Vf::splat(s, *factor);
                update0!(s, row, |x| x * factor);
            }
        }
        let mut start = 0;
        while let Some((slot, first, keys)) = slots.next_run(&mut start, p.k_len) {
            let update = if std::mem::take(&mut fresh) { Update::Set } else { Update::Continue };
            // SAFETY: probabilities of these slots were written above; the keys are rows of `v`, by `check`; the
            // output tile has `rows` rows of `hd`.
            unsafe {
                let weights = Left { ptr: scores.add(slot * KEYS), row: SCORES, col: 1 };
                let values = call.v.ptr().add((sample * p.k_len + first) * call.v.row_stride() + kv * hd);
                let stride = call.v.row_stride();
                gemm_serial::<S, false>(s, rows, hd, keys, weights, values, stride, out, hd, 1.0, update);
            }
        }
    }
    // SAFETY: this task owns these rows and heads of `lse` and `o`; sizes by `check`.
    unsafe {
        let lse = call.lse.slice((sample * p.heads + h) * p.q_len + q, rows);
        for i in 0..rows {
            lse[i] = if fresh { f32::NEG_INFINITY } else { highest[i] + total[i].ln() };
            let to = std::slice::from_raw_parts_mut(
                call.o.ptr().add((first_row + i) * call.o.row_stride() + h * hd),
                hd,
            );
            if fresh {
                to.fill(0.0);
            } else {
                let factor = Vf::splat(s, 1.0 / total[i]);
                let from = std::slice::from_raw_parts(out.add(i * hd), hd);
                scale_row(s, from, to, factor);
            }
        }
    }
}

/// `to = factor from`.
#[inline(always)]
fn scale_row<S: Simd>(s: S, from: &[f32], to: &mut [f32], factor: Vf<S>) {
    simd::map1!(s, from, to, |x| x * factor);
}

/// Running softmax: scores become probabilities up to the final factor; returns by what older sums shrink.
#[inline(always)]
pub(super) fn softmax_step<S: Simd>(
    s: S,
    scores: *mut f32,
    rows: usize,
    width: usize,
    highest: &mut [f32; QUERIES],
    total: &mut [f32; QUERIES],
) -> [f32; QUERIES] {
    let mut drop = [0.0_f32; QUERIES];
    let mut sums = [0.0_f32; QUERIES];
    for i in 0..rows {
        // SAFETY: the caller wrote the first `width` scores of the first `rows` rows.
        let row = unsafe { std::slice::from_raw_parts_mut(scores.add(i * SCORES), width) };
        let top = simd::max(s, row).max(highest[i]);
        drop[i] = highest[i] - top;
        highest[i] = top;
        let shift = Vf::splat(s, top);
        let mut sum = Vf::zero(s);
        // The width is a multiple of every register's.
        for x in S::as_mut_simd_f32s(row).0 {
            let e = exp_v(Vf::new(s, *x) - shift);
            sum = sum + e;
            *x = e.raw();
        }
        sums[i] = sum.sum();
    }
    let mut factors = [0.0_f32; QUERIES];
    simd::map1!(s, &drop, &mut factors, exp_v);
    for i in 0..rows {
        total[i] = total[i] * factors[i] + sums[i];
    }
    factors
}
