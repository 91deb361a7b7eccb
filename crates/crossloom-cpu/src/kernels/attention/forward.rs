//! The forward pass: running softmax over blocks of keys.

use super::mask::{Mask, Meet, fill_hidden};
use super::tile::{Tile, Walk};
use super::{Attention, KEYS, QUERIES, Slots, pack_head};
use crate::kernels::error::{KernelError, need};
use crate::kernels::float_mat::{FloatMat, FloatMatMut};
use crate::kernels::gemm::packed_len;
use crate::parallel::{self, SharedMut};
use crate::simd::{Simd, dispatch};

/// Attention: `o = softmax(scale q kᵀ + mask) v`, per head, and `lse [batch, heads, q_len]`, the log-sum-exp of the
/// scaled scores (minus infinity where a query sees nothing, and `o` is 0).
///
/// `segments [batch, k_len]`: everyone sees segment 0 and its own segment; padding (-1) sees itself only and is seen
/// by nobody else. Views may lie in one merged buffer, and be of either float type. `scratch` holds
/// [`Attention::scratch_len`] values.
///
/// # Errors
/// Where shapes do not agree or a buffer is too short.
pub fn attention<'a>(
    p: &Attention,
    q: impl Into<FloatMat<'a>>,
    k: impl Into<FloatMat<'a>>,
    v: impl Into<FloatMat<'a>>,
    segments: Option<&[i32]>,
    o: impl Into<FloatMatMut<'a>>,
    lse: &mut [f32],
    scratch: &mut [f32],
) -> Result<(), KernelError> {
    let call = Call { p, q: q.into(), v: v.into(), segments, o: o.into(), lse: SharedMut::new(lse) };
    run(&call, k.into(), scratch)
}

fn run(call: &Call<'_>, k: FloatMat<'_>, scratch: &mut [f32]) -> Result<(), KernelError> {
    let Call { p, q, v, segments, o, lse } = call;
    p.check("attention", [q.shape(), k.shape(), v.shape(), o.shape()], *segments, lse.len())?;
    need("attention", "scratch", scratch.len(), p.scratch_len())?;
    let head = p.packed_head();
    let packed = SharedMut::new(scratch);
    // With many heads, a task is a key head; with few, packing comes first and tiles of queries are tasks.
    let q_tasks = if p.batch * p.kv_heads >= 8 { 1 } else { p.q_len.div_ceil(QUERIES * 4).max(1) };
    let pack = |task: usize| {
        // SAFETY: each key head has its own part of the scratch.
        pack_head(p, k, task, unsafe { packed.slice(task * head, head) });
    };
    if q_tasks > 1 {
        parallel::for_each(p.batch * p.kv_heads, pack);
    }
    parallel::for_each(p.batch * p.kv_heads * q_tasks, |task| {
        let (group, part) = (task / q_tasks, task % q_tasks);
        let tiles = p.q_len.div_ceil(QUERIES);
        if q_tasks == 1 {
            pack(group);
        }
        // SAFETY: packed above, by this task or before; nobody writes it any more.
        let keys: &[f32] = unsafe { packed.slice(group * head, head) };
        forward_task(call, keys, group, tiles * part / q_tasks, tiles * (part + 1) / q_tasks);
    });
    Ok(())
}

/// The operands of a call.
struct Call<'a> {
    p: &'a Attention,
    q: FloatMat<'a>,
    v: FloatMat<'a>,
    segments: Option<&'a [i32]>,
    o: FloatMatMut<'a>,
    lse: SharedMut<'a>,
}

dispatch!(
    fn forward_task(call: &Call<'_>, keys: &[f32], group: usize, first_tile: usize, end_tile: usize) =
        forward_body
);

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
    let mut tile = Tile::new();
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
    let first_row = sample * p.q_len + q;
    let mut walk = Walk::start(s, tile, call.q, (rows, hd), |i| (first_row + i, h * hd));
    let mut next = 0;
    while let Some(slots) = Slots::collect(mask, q, rows, p.blocks(), &mut next) {
        // SAFETY: blocks are packed and slots scored before they are read; the keys of a run are rows of `v`, by `check`.
        unsafe {
            for slot in 0..slots.count {
                walk.score(s, &keys[slots.block[slot] * block_len..][..block_len], slot, p.scale);
                if slots.meet[slot] == Meet::Some {
                    let keys = mask.keys_of(slots.block[slot]);
                    for i in 0..rows {
                        fill_hidden(s, &keys, mask.query(q + i), walk.row(i, slot, KEYS), f32::NEG_INFINITY);
                    }
                }
            }
            walk.soften(s, slots.count * KEYS);
            let mut start = 0;
            while let Some((slot, first, count)) = slots.next_run(&mut start, p.k_len) {
                walk.add(s, slot, call.v, (sample * p.k_len + first, kv * hd), count);
            }
        }
    }
    // SAFETY: this task owns these rows and heads of `lse` and `o`; sizes by `check`.
    unsafe {
        let lse = call.lse.slice((sample * p.heads + h) * p.q_len + q, rows);
        for (i, lse) in lse.iter_mut().enumerate() {
            *lse = walk.finish(s, i, &call.o, (first_row + i, h * hd));
        }
    }
}
