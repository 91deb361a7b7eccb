//! The backward pass: probabilities are recomputed from the log-sum-exp, tile by tile.

use std::mem::MaybeUninit;

use super::mask::{Mask, Meet, fill_hidden};
use super::tile::{Heads, Room, Scores, add_product, widen_rows};
use super::{Attention, KEYS, QUERIES, SCORES, Slots, pack_head};
use crate::kernels::error::{KernelError, need, same};
use crate::kernels::float_mat::{FloatMat, FloatMatMut};
use crate::kernels::gemm::{Left, Update, gemm_serial, packed_len};
use crate::kernels::reduce::add_partials;
use crate::kernels::view::MatMut;
use crate::math::exp_v;
use crate::parallel::{self, SharedMut, chunk_range};
use crate::simd::{Simd, Vf, dispatch};

/// Gradients of [`attention`](super::attention): of `q`, `k` and `v`, as far as they are wanted, given `d_out`, the
/// gradient of `o`.
///
/// `o` and `lse` are what the forward pass gave. Views may lie in one merged buffer, also those of the gradients, and be
/// of either float type. `scratch` holds [`Attention::grad_scratch_len`] values.
///
/// # Errors
/// Where shapes do not agree or a buffer is too short.
pub fn attention_grad<'a>(
    p: &Attention,
    q: impl Into<FloatMat<'a>>,
    k: impl Into<FloatMat<'a>>,
    v: impl Into<FloatMat<'a>>,
    segments: Option<&[i32]>,
    o: impl Into<FloatMat<'a>>,
    lse: &[f32],
    d_out: impl Into<FloatMat<'a>>,
    dq: Option<FloatMatMut<'a>>,
    dk: Option<FloatMatMut<'a>>,
    dv: Option<FloatMatMut<'a>>,
    scratch: &mut [f32],
) -> Result<(), KernelError> {
    let (q, k, o, d_out) = (q.into(), k.into(), o.into(), d_out.into());
    run(&Call { p, q, k, segments, o, lse, d_out, dq, dk, dv }, v.into(), scratch)
}

fn run(call: &Call<'_>, v: FloatMat<'_>, scratch: &mut [f32]) -> Result<(), KernelError> {
    let name = "attention_grad";
    let Call { p, q, k, segments, o, lse, d_out, dq, dk, dv } = call;
    p.check(name, [q.shape(), k.shape(), v.shape(), o.shape()], *segments, lse.len())?;
    let of = |grad: &Option<FloatMatMut<'_>>| grad.as_ref().map(FloatMatMut::shape);
    for (operand, grad, (rows, cols)) in [
        ("d_out", Some(d_out.shape()), o.shape()),
        ("dq", of(dq), q.shape()),
        ("dk", of(dk), k.shape()),
        ("dv", of(dv), v.shape()),
    ] {
        if let Some(grad) = grad {
            same(name, operand, grad.0, rows)?;
            same(name, operand, grad.1, cols)?;
        }
    }
    let is_narrow = [dk, dv].iter().any(|grad| matches!(grad, Some(FloatMatMut::Bf16(_))));
    need(name, "scratch", scratch.len(), p.grad_scratch_len(is_narrow))?;
    if dq.is_none() && dk.is_none() && dv.is_none() {
        return Ok(());
    }
    let (head, groups, parts) = (p.packed_head(), p.batch * p.kv_heads, p.parts());
    let (packed, sums) = scratch.split_at_mut(groups * 2 * head);
    let (packed, sums) = (SharedMut::new(packed), SharedMut::new(sums));
    let pack = |group: usize| {
        // SAFETY: each key head has its own part of the scratch.
        let (keys, values) = unsafe { packed.slice(group * 2 * head, 2 * head) }.split_at_mut(head);
        pack_head(p, *k, group, keys);
        pack_head(p, v, group, values);
    };
    if parts > 1 {
        parallel::for_each(groups, pack);
    }
    let (apart, own) = (p.sums_apart(is_narrow), 2 * p.head_len());
    parallel::for_each(groups * parts, |task| {
        let (group, part) = (task / parts, task % parts);
        if parts == 1 {
            pack(group);
        }
        // SAFETY: packed above, by this task or before, and nobody writes it any more.
        let packed: &[f32] = unsafe { packed.slice(group * 2 * head, 2 * head) };
        if !apart {
            // One task has these columns of both gradients, which are `f32`.
            let in_place = |grad: &Option<FloatMatMut<'_>>| match grad {
                Some(FloatMatMut::F32(grad)) => Some(Sums::in_result(p, grad, group)),
                _ => None,
            };
            backward_task(call, packed, [in_place(dk), in_place(dv)], group, part);
            return;
        }
        // SAFETY: each task has its own sums.
        let (of_dk, of_dv) = unsafe { sums.slice(task * own, own) }.split_at_mut(p.head_len());
        let wanted =
            [dk.is_some().then(|| Sums::apart(p, of_dk)), dv.is_some().then(|| Sums::apart(p, of_dv))];
        backward_task(call, packed, wanted, group, part);
        if parts == 1 {
            finish_task(call, [of_dk, of_dv], group, 0);
        }
    });
    if parts > 1 {
        let cuts = p.k_len.div_ceil(KEYS);
        parallel::for_each(groups * cuts, |task| {
            let (group, keys) = (task / cuts, chunk_range(p.k_len, KEYS, task % cuts));
            let len = keys.len() * p.head_dim;
            let added = [0, p.head_len()].map(|of| {
                // SAFETY: every part is complete, and these keys of all parts of a key head belong to this task.
                let of_part = |part: usize| unsafe {
                    sums.slice((group * parts + part) * own + of + keys.start * p.head_dim, len)
                };
                let first = of_part(0);
                (1..parts).for_each(|part| add_partials(of_part(part), len, first));
                &*first
            });
            finish_task(call, added, group, keys.start);
        });
    }
    Ok(())
}

/// The operands of a call.
struct Call<'a> {
    p: &'a Attention,
    q: FloatMat<'a>,
    k: FloatMat<'a>,
    segments: Option<&'a [i32]>,
    o: FloatMat<'a>,
    lse: &'a [f32],
    d_out: FloatMat<'a>,
    dq: Option<FloatMatMut<'a>>,
    dk: Option<FloatMatMut<'a>>,
    dv: Option<FloatMatMut<'a>>,
}

/// Sums of the gradient of one head of keys or values, a row for each; a task's own.
#[derive(Clone, Copy)]
struct Sums {
    ptr: *mut f32,
    stride: usize,
}

impl Sums {
    /// In the columns of the result that belong to a key head.
    fn in_result(p: &Attention, grad: &MatMut<'_>, group: usize) -> Self {
        let (sample, kv) = (group / p.kv_heads, group % p.kv_heads);
        let at = sample * p.k_len * grad.row_stride() + kv * p.head_dim;
        Self { ptr: grad.ptr().wrapping_add(at), stride: grad.row_stride() }
    }

    /// Beside the result.
    fn apart(p: &Attention, sums: &mut [f32]) -> Self {
        Self { ptr: sums.as_mut_ptr(), stride: p.head_dim }
    }

    /// From key `i` on.
    ///
    /// # Safety
    /// There is such a key.
    #[inline(always)]
    unsafe fn at(self, i: usize) -> *mut f32 {
        // SAFETY: rows of keys are `stride` apart.
        unsafe { self.ptr.add(i * self.stride) }
    }
}

dispatch!(
    fn backward_task(call: &Call<'_>, packed: &[f32], sums: [Option<Sums>; 2], group: usize, part: usize) =
        backward_body
);

/// Buffers of a tile.
struct Tile {
    queries: Heads,
    d_out: Heads,
    /// Scores, then probabilities.
    probs: Scores,
    /// Gradients of the probabilities, then of the scores.
    grads: Scores,
    dq: Heads,
    room: Room,
}

/// One part of the tiles of all query heads that share a key head.
#[inline(always)]
fn backward_body<S: Simd>(
    s: S,
    call: &Call<'_>,
    packed: &[f32],
    sums: [Option<Sums>; 2],
    group: usize,
    part: usize,
) {
    let p = call.p;
    let (sample, kv) = (group / p.kv_heads, group % p.kv_heads);
    let mask = Mask::new(p, call.segments, sample);
    let (keys, values) = packed.split_at(p.packed_head());
    for sums in sums.into_iter().flatten() {
        for i in 0..p.k_len {
            // SAFETY: the rows of the sums are this task's.
            unsafe { std::slice::from_raw_parts_mut(sums.at(i), p.head_dim).fill(0.0) };
        }
    }
    let mut tile = Tile {
        queries: MaybeUninit::uninit(),
        d_out: MaybeUninit::uninit(),
        probs: MaybeUninit::uninit(),
        grads: MaybeUninit::uninit(),
        dq: MaybeUninit::uninit(),
        room: MaybeUninit::uninit(),
    };
    let of_head = p.q_len.div_ceil(QUERIES);
    // Dealt out, as later tiles of a causal mask have more to do.
    for unit in (part..p.tiles()).step_by(p.parts()) {
        let (h, q) = (kv * p.group() + unit / of_head, unit % of_head * QUERIES);
        let rows = QUERIES.min(p.q_len - q);
        backward_tile(s, call, [keys, values], &mask, &mut tile, sums, (sample, kv, h), q, rows);
    }
}

/// One tile of queries of one head.
#[inline(always)]
fn backward_tile<S: Simd>(
    s: S,
    call: &Call<'_>,
    [keys, values]: [&[f32]; 2],
    mask: &Mask<'_>,
    tile: &mut Tile,
    [dk, dv]: [Option<Sums>; 2],
    (sample, kv, h): (usize, usize, usize),
    q: usize,
    rows: usize,
) {
    let p = call.p;
    let hd = p.head_dim;
    let block_len = packed_len(hd, KEYS);
    let first_row = sample * p.q_len + q;
    let at = |i: usize| (first_row + i, h * hd);
    let queries = widen_rows(s, call.q, (rows, hd), at, &mut tile.queries).cast_const();
    let d_out = widen_rows(s, call.d_out, (rows, hd), at, &mut tile.d_out).cast_const();
    let probs = tile.probs.as_mut_ptr().cast::<f32>();
    let grads = tile.grads.as_mut_ptr().cast::<f32>();
    let dq = tile.dq.as_mut_ptr().cast::<f32>();
    let lse = &call.lse[(sample * p.heads + h) * p.q_len + q..][..rows];
    // What is left out where it leads to no gradient that is wanted.
    let of_scores = call.dq.is_some() || call.dk.is_some();
    let mut delta = [0.0_f32; QUERIES];
    if of_scores {
        for (i, delta) in delta.iter_mut().enumerate().take(rows) {
            // SAFETY: row `i` was widened above.
            let d_out = unsafe { std::slice::from_raw_parts(d_out.add(i * hd), hd) };
            *delta = call.o.dot(s, first_row + i, h * hd, d_out);
        }
    }
    let mut fresh = true;
    let mut next = 0;
    while let Some(slots) = Slots::collect(mask, q, rows, p.blocks(), &mut next) {
        for slot in 0..slots.count {
            let at = slots.block[slot] * block_len;
            // SAFETY: packed blocks are `[hd, 32]`; both buffers have `rows <= QUERIES` rows of `SCORES`.
            unsafe {
                let left = Left { ptr: queries, row: hd, col: 1 };
                let (b, c) = (keys[at..][..block_len].as_ptr(), probs.add(slot * KEYS));
                gemm_serial::<S, true>(s, rows, KEYS, hd, left, b, KEYS, c, SCORES, p.scale, Update::Set);
                if of_scores {
                    let left = Left { ptr: d_out, row: hd, col: 1 };
                    let (b, c) = (values[at..][..block_len].as_ptr(), grads.add(slot * KEYS));
                    gemm_serial::<S, true>(s, rows, KEYS, hd, left, b, KEYS, c, SCORES, 1.0, Update::Set);
                }
            }
            if slots.meet[slot] == Meet::Some {
                let keys = mask.keys_of(slots.block[slot]);
                for i in 0..rows {
                    // SAFETY: these 32 scores were written just now.
                    let x =
                        unsafe { std::slice::from_raw_parts_mut(probs.add(i * SCORES + slot * KEYS), KEYS) };
                    fill_hidden(s, &keys, mask.query(q + i), x, f32::NEG_INFINITY);
                }
            }
        }
        let width = slots.count * KEYS;
        for i in 0..rows {
            let lse = Vf::splat(s, lse[i]);
            // SAFETY: the first `width` scores of this row were written above.
            let x = unsafe { std::slice::from_raw_parts_mut(probs.add(i * SCORES), width) };
            for x in S::as_mut_simd_f32s(x).0 {
                *x = exp_v(Vf::new(s, *x) - lse).raw();
            }
            if of_scores {
                let (delta, scale) = (Vf::splat(s, delta[i]), Vf::splat(s, p.scale));
                // SAFETY: as above, for both buffers.
                let (x, d) = unsafe {
                    (
                        std::slice::from_raw_parts(probs.add(i * SCORES), width),
                        std::slice::from_raw_parts_mut(grads.add(i * SCORES), width),
                    )
                };
                for (x, d) in S::as_simd_f32s(x).0.iter().zip(S::as_mut_simd_f32s(d).0) {
                    *d = (Vf::new(s, *x) * (Vf::new(s, *d) - delta) * scale).raw();
                }
            }
        }
        let mut start = 0;
        while let Some((slot, first, count)) = slots.next_run(&mut start, p.k_len) {
            let update = if std::mem::take(&mut fresh) { Update::Set } else { Update::Continue };
            // SAFETY: the keys are rows of `k`, by `check`, and `hd` values each in the sums; the buffers hold these slots.
            unsafe {
                if call.dq.is_some() {
                    let left = Left { ptr: grads.add(slot * KEYS), row: SCORES, col: 1 };
                    let at = (sample * p.k_len + first, kv * hd);
                    add_product(s, (rows, hd), left, call.k, at, count, &mut tile.room, dq, update);
                }
                if let Some(dv) = dv {
                    let left = Left { ptr: probs.add(slot * KEYS), row: 1, col: SCORES };
                    let (c, ldc) = (dv.at(first), dv.stride);
                    gemm_serial::<S, false>(s, count, hd, rows, left, d_out, hd, c, ldc, 1.0, Update::Add);
                }
                if let Some(dk) = dk {
                    let left = Left { ptr: grads.add(slot * KEYS), row: 1, col: SCORES };
                    let (c, ldc) = (dk.at(first), dk.stride);
                    gemm_serial::<S, false>(s, count, hd, rows, left, queries, hd, c, ldc, 1.0, Update::Add);
                }
            }
        }
    }
    let Some(to) = &call.dq else { return };
    for i in 0..rows {
        // SAFETY: this task owns these columns of this row; row `i` of the buffer was written unless nothing was seen.
        unsafe {
            if fresh {
                to.clear(first_row + i, h * hd, hd);
            } else {
                let from = std::slice::from_raw_parts(dq.add(i * hd), hd);
                to.store(s, first_row + i, h * hd, from, 1.0);
            }
        }
    }
}

dispatch!(fn finish_task(call: &Call<'_>, sums: [&[f32]; 2], group: usize, first: usize) = finish_body);

/// Gradients of the keys of one head from key `first` on, as many as there are sums for.
#[inline(always)]
fn finish_body<S: Simd>(s: S, call: &Call<'_>, sums: [&[f32]; 2], group: usize, first: usize) {
    let p = call.p;
    let (sample, kv) = (group / p.kv_heads, group % p.kv_heads);
    for (sums, to) in sums.into_iter().zip([&call.dk, &call.dv]) {
        let Some(to) = to else { continue };
        for (i, sum) in sums.chunks_exact(p.head_dim.max(1)).enumerate() {
            // SAFETY: one task has these keys of this head; they are rows and columns of both gradients, by `check`.
            unsafe { to.store(s, sample * p.k_len + first + i, kv * p.head_dim, sum, 1.0) };
        }
    }
}
