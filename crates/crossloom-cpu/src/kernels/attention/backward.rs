//! The backward pass: probabilities are recomputed from the log-sum-exp, tile by tile.

use std::mem::MaybeUninit;

use super::mask::{Mask, Meet, fill_hidden};
use super::{Attention, KEYS, QUERIES, SCORES, Slots, pack_head};
use crate::kernels::error::{KernelError, need, same};
use crate::kernels::gemm::{Left, Update, gemm_serial, packed_len};
use crate::kernels::view::{Mat, MatMut};
use crate::math::exp_v;
use crate::parallel::{self, SharedMut};
use crate::simd::{self, Simd, Vf, dispatch};

/// Gradients of [`attention`](super::attention): of `q`, `k` and `v`, given `d_out`, the gradient of `o`.
///
/// `o` and `lse` are what the forward pass gave. Views may lie in one merged buffer, also those of the gradients.
/// `scratch` holds [`Attention::grad_scratch_len`] values.
///
/// # Errors
/// Where shapes do not agree or a buffer is too short.
pub fn attention_grad(
    p: &Attention,
    q: Mat<'_>,
    k: Mat<'_>,
    v: Mat<'_>,
    segments: Option<&[i32]>,
    o: Mat<'_>,
    lse: &[f32],
    d_out: Mat<'_>,
    dq: MatMut<'_>,
    dk: MatMut<'_>,
    dv: MatMut<'_>,
    scratch: &mut [f32],
) -> Result<(), KernelError> {
    let name = "attention_grad";
    let shape = |m: &Mat<'_>| (m.rows(), m.cols());
    p.check(name, [shape(&q), shape(&k), shape(&v), shape(&o)], segments, lse.len())?;
    for (operand, grad, of) in
        [("d_out", d_out, o), ("dq", dq.as_ref(), q), ("dk", dk.as_ref(), k), ("dv", dv.as_ref(), v)]
    {
        same(name, operand, grad.rows(), of.rows())?;
        same(name, operand, grad.cols(), of.cols())?;
    }
    need(name, "scratch", scratch.len(), p.grad_scratch_len())?;
    let head = p.packed_head();
    let packed = SharedMut::new(scratch);
    let call = Call { p, q, k, segments, o, lse, d_out, dq, dk, dv };
    parallel::for_each(p.batch * p.kv_heads, |group| {
        // SAFETY: each key head has its own part of the scratch.
        let (keys, values) = unsafe { packed.slice(group * 2 * head, 2 * head) }.split_at_mut(head);
        let (sample, kv) = (group / p.kv_heads, group % p.kv_heads);
        pack_head(k, sample * p.k_len, p.k_len, kv * p.head_dim, p.head_dim, keys);
        pack_head(v, sample * p.k_len, p.k_len, kv * p.head_dim, p.head_dim, values);
        backward_task(&call, keys, values, group);
    });
    Ok(())
}

/// The operands of a call.
struct Call<'a> {
    p: &'a Attention,
    q: Mat<'a>,
    k: Mat<'a>,
    segments: Option<&'a [i32]>,
    o: Mat<'a>,
    lse: &'a [f32],
    d_out: Mat<'a>,
    dq: MatMut<'a>,
    dk: MatMut<'a>,
    dv: MatMut<'a>,
}

dispatch!(fn backward_task(call: &Call<'_>, keys: &[f32], values: &[f32], group: usize) = backward_body);

/// Buffers of a tile, on the stack, written before they are read.
struct Tile {
    /// Scores, then probabilities.
    probs: MaybeUninit<[f32; QUERIES * SCORES]>,
    /// Gradients of the probabilities, then of the scores.
    grads: MaybeUninit<[f32; QUERIES * SCORES]>,
}

/// All query heads that share a key head.
#[inline(always)]
fn backward_body<S: Simd>(s: S, call: &Call<'_>, keys: &[f32], values: &[f32], group: usize) {
    let p = call.p;
    let (sample, kv) = (group / p.kv_heads, group % p.kv_heads);
    let mask = Mask::new(p, call.segments, sample);
    for i in 0..p.k_len {
        for d in [&call.dk, &call.dv] {
            // SAFETY: this task owns these rows and columns of both gradients.
            unsafe { d.cells(sample * p.k_len + i, kv * p.head_dim, p.head_dim).fill(0.0) };
        }
    }
    let mut tile = Tile { probs: MaybeUninit::uninit(), grads: MaybeUninit::uninit() };
    for h in kv * p.group()..(kv + 1) * p.group() {
        for q in (0..p.q_len).step_by(QUERIES) {
            let rows = QUERIES.min(p.q_len - q);
            backward_tile(s, call, keys, values, &mask, &mut tile, (sample, kv, h), q, rows);
        }
    }
}

/// One tile of queries of one head.
#[inline(always)]
fn backward_tile<S: Simd>(
    s: S,
    call: &Call<'_>,
    keys: &[f32],
    values: &[f32],
    mask: &Mask<'_>,
    tile: &mut Tile,
    (sample, kv, h): (usize, usize, usize),
    q: usize,
    rows: usize,
) {
    let p = call.p;
    let hd = p.head_dim;
    let block_len = packed_len(hd, KEYS);
    let probs = tile.probs.as_mut_ptr().cast::<f32>();
    let grads = tile.grads.as_mut_ptr().cast::<f32>();
    let first_row = sample * p.q_len + q;
    let lse = &call.lse[(sample * p.heads + h) * p.q_len + q..][..rows];
    let mut delta = [0.0_f32; QUERIES];
    for i in 0..rows {
        let cols = h * hd..(h + 1) * hd;
        delta[i] =
            simd::dot(s, &call.o.row(first_row + i)[cols.clone()], &call.d_out.row(first_row + i)[cols]);
    }
    // SAFETY: the tile's queries are rows of `q`, `d_out` and `dq`, by `check`.
    let (queries, d_out, dq) = unsafe {
        (
            call.q.ptr().add(first_row * call.q.row_stride() + h * hd),
            call.d_out.ptr().add(first_row * call.d_out.row_stride() + h * hd),
            call.dq.ptr().add(first_row * call.dq.row_stride() + h * hd),
        )
    };
    let mut fresh = true;
    let mut next = 0;
    while let Some(slots) = Slots::collect(mask, q, rows, p.blocks(), &mut next) {
        for slot in 0..slots.count {
            let at = slots.block[slot] * block_len;
            // SAFETY: packed blocks are `[hd, 32]`; both buffers have `rows <= QUERIES` rows of `SCORES`.
            unsafe {
                let left = Left { ptr: queries, row: call.q.row_stride(), col: 1 };
                let (b, c) = (keys.as_ptr().add(at), probs.add(slot * KEYS));
                gemm_serial::<S, true>(s, rows, KEYS, hd, left, b, KEYS, c, SCORES, p.scale, Update::Set);
                let left = Left { ptr: d_out, row: call.d_out.row_stride(), col: 1 };
                let (b, c) = (values.as_ptr().add(at), grads.add(slot * KEYS));
                gemm_serial::<S, true>(s, rows, KEYS, hd, left, b, KEYS, c, SCORES, 1.0, Update::Set);
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
            // SAFETY: the first `width` values of this row of both buffers were written above.
            let (x, d) = unsafe {
                (
                    std::slice::from_raw_parts_mut(probs.add(i * SCORES), width),
                    std::slice::from_raw_parts_mut(grads.add(i * SCORES), width),
                )
            };
            let (lse, delta, scale) = (Vf::splat(s, lse[i]), Vf::splat(s, delta[i]), Vf::splat(s, p.scale));
            for (x, d) in S::as_mut_simd_f32s(x).0.iter_mut().zip(S::as_mut_simd_f32s(d).0) {
                let probability = exp_v(Vf::new(s, *x) - lse);
                *x = probability.raw();
                *d = (probability * (Vf::new(s, *d) - delta) * scale).raw();
            }
        }
        let mut start = 0;
        while let Some((slot, first, count)) = slots.next_run(&mut start, p.k_len) {
            let update = if std::mem::take(&mut fresh) { Update::Set } else { Update::Continue };
            let row = sample * p.k_len + first;
            // SAFETY: the keys are rows of `k`, `dk` and `dv`, by `check`; this task owns those columns of the
            // gradients, and the rows of this head of `dq`; the buffers hold these slots.
            unsafe {
                let keys = call.k.ptr().add(row * call.k.row_stride() + kv * hd);
                let left = Left { ptr: grads.add(slot * KEYS), row: SCORES, col: 1 };
                let (ldb, ldc) = (call.k.row_stride(), call.dq.row_stride());
                gemm_serial::<S, false>(s, rows, hd, count, left, keys, ldb, dq, ldc, 1.0, update);

                let dv = call.dv.ptr().add(row * call.dv.row_stride() + kv * hd);
                let left = Left { ptr: probs.add(slot * KEYS), row: 1, col: SCORES };
                let (ldb, ldc) = (call.d_out.row_stride(), call.dv.row_stride());
                gemm_serial::<S, false>(s, count, hd, rows, left, d_out, ldb, dv, ldc, 1.0, Update::Add);

                let dk = call.dk.ptr().add(row * call.dk.row_stride() + kv * hd);
                let left = Left { ptr: grads.add(slot * KEYS), row: 1, col: SCORES };
                let (ldb, ldc) = (call.q.row_stride(), call.dk.row_stride());
                gemm_serial::<S, false>(s, count, hd, rows, left, queries, ldb, dk, ldc, 1.0, Update::Add);
            }
        }
    }
    if fresh {
        for i in 0..rows {
            // SAFETY: this task owns these columns of this row.
            unsafe { call.dq.cells(first_row + i, h * hd, hd).fill(0.0) };
        }
    }
}
