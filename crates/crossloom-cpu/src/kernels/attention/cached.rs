//! Attention of new positions over a cache that holds them.
//!
//! The query heads that share a key head are rows of one matrix, position by position, cut into tiles of 24 rows. Keys are
//! taken in blocks of 32, transposed, eight blocks to a round with a running softmax between rounds. Which keys are in a
//! round depends on their positions alone, and keys that a row does not see add zeros to its sums: a row has the same
//! bits whatever other rows are in the call, however many positions the call has, and whatever the cache has room for.
//! Without segments they are also those of causal [`attention`](crate::kernels::attention) over the whole sequence.

use std::mem::MaybeUninit;

use super::forward::{LOW, softmax_step};
use super::{KEYS, MAX_HEAD_DIM, QUERIES as ROWS, SCORES as ROUND};
use crate::kernels::cache::{CacheShape, Place, Places};
use crate::kernels::error::{KernelError, need, same};
use crate::kernels::gemm::{Left, Update, gemm_serial, pack_columns, packed_len};
use crate::parallel::{self, SharedMut};
use crate::simd::{self, Simd, Vf, dispatch, update0};

/// Tiles of one task at most.
const TILES: usize = 4;

/// The shape of a call: `q` and `o [rows, tokens, heads head_dim]`, `keys` and `values [slots, capacity, kv_heads
/// head_dim]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CachedAttention {
    /// The cache and the call.
    pub cache: CacheShape,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`. Query head `h` reads key head `h kv_heads / heads`.
    pub kv_heads: usize,
    /// Width of a head, at most 256.
    pub head_dim: usize,
    /// Factor of the scores, usually `1 / sqrt(head_dim)`.
    pub scale: f32,
}

impl CachedAttention {
    /// Scratch values: the transposed keys of every sequence and key head, or one block of them where a block is used
    /// once.
    pub fn scratch_len(&self) -> usize {
        self.cache.rows * self.kv_heads * self.task_scratch()
    }

    /// Whether several tiles read the same keys, so that packing them beforehand pays.
    fn packs_all(&self) -> bool {
        self.tiles() > 1
    }

    fn task_scratch(&self) -> usize {
        let blocks = if self.packs_all() { self.cache.capacity.div_ceil(KEYS) } else { 1 };
        blocks * packed_len(self.head_dim, KEYS)
    }

    /// Tiles of one sequence and key head.
    fn tiles(&self) -> usize {
        (self.cache.tokens * self.group()).div_ceil(ROWS)
    }

    /// Query heads of one key head.
    fn group(&self) -> usize {
        self.heads / self.kv_heads.max(1)
    }

    /// Values of a row of the cache.
    fn narrow(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    fn check(
        &self,
        q: usize,
        keys: usize,
        values: usize,
        segments: Option<usize>,
        o: usize,
    ) -> Result<(), KernelError> {
        let name = "cached_attention";
        same(name, "heads % kv_heads", self.heads % self.kv_heads.max(1), 0)?;
        if self.heads > 0 {
            need(name, "kv_heads", self.kv_heads, 1)?;
        }
        need(name, "largest head_dim", MAX_HEAD_DIM, self.head_dim)?;
        let positions = self.cache.slots * self.cache.capacity;
        let wide = self.cache.rows * self.cache.tokens * self.heads * self.head_dim;
        need(name, "q", q, wide)?;
        need(name, "o", o, wide)?;
        need(name, "keys", keys, positions * self.narrow())?;
        need(name, "values", values, positions * self.narrow())?;
        segments.map_or(Ok(()), |len| need(name, "segments", len, positions))
    }
}

/// Attention of the new positions of every row over the keys up to their own, which the cache holds already. `o` is 0
/// behind a row's `count`. With `segments [slots, capacity]` a query sees segment 0 and its own; padding (-1) sees itself
/// only and is seen by nobody else. `scratch` holds [`CachedAttention::scratch_len`] values.
///
/// # Errors
/// Where a buffer is too short or a place is outside of the cache.
pub fn cached_attention(
    p: &CachedAttention,
    q: &[f32],
    keys: &[f32],
    values: &[f32],
    segments: Option<&[i32]>,
    places: &Places<'_>,
    o: &mut [f32],
    scratch: &mut [f32],
) -> Result<(), KernelError> {
    p.check(q.len(), keys.len(), values.len(), segments.map(<[i32]>::len), o.len())?;
    need("cached_attention", "scratch", scratch.len(), p.scratch_len())?;
    places.check("cached_attention", &p.cache, false)?;
    let call = Call { p, q, keys, values, segments, places, o: SharedMut::new(o) };
    let (groups, size) = (p.cache.rows * p.kv_heads, p.task_scratch());
    let packed = SharedMut::new(scratch);
    if p.packs_all() {
        parallel::for_each(groups, |group| {
            // SAFETY: each sequence and key head has its own part of the scratch.
            let out = unsafe { packed.slice(group * size, size) };
            pack_all(&call, group, out);
        });
        let parts = p.tiles().div_ceil(TILES);
        parallel::for_each(groups * parts, |task| {
            let (group, first) = (task / parts, task % parts * TILES);
            // SAFETY: packed above; nobody writes it any more.
            let keys: &[f32] = unsafe { packed.slice(group * size, size) };
            tiles_task(&call, &mut Packed::All(keys), group, first, (first + TILES).min(p.tiles()));
        });
    } else {
        parallel::for_each(groups, |group| {
            // SAFETY: each sequence and key head has its own part of the scratch, and is one task.
            let block = unsafe { packed.slice(group * size, size) };
            tiles_task(&call, &mut Packed::One(block), group, 0, p.tiles());
        });
    }
    Ok(())
}

/// Transposed keys of one sequence and key head.
enum Packed<'a> {
    /// All that the sequence holds.
    All(&'a [f32]),
    /// Room for the block at hand.
    One(&'a mut [f32]),
}

/// The operands of a call.
struct Call<'a> {
    p: &'a CachedAttention,
    q: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    segments: Option<&'a [i32]>,
    places: &'a Places<'a>,
    o: SharedMut<'a>,
}

impl Call<'_> {
    /// Transposes a block of keys, of which `len` positions exist: `[head_dim, 32]`, zero-padded.
    #[inline(always)]
    fn pack<S: Simd>(&self, s: S, place: Place, kv: usize, block: usize, len: usize, out: &mut [f32]) {
        let (stride, hd) = (self.p.narrow(), self.p.head_dim);
        let count = KEYS.min(len - block * KEYS);
        let from = &self.keys[(place.slot * self.p.cache.capacity + block * KEYS) * stride + kv * hd..];
        // SAFETY: the last of `count` rows ends `(count - 1) * stride + hd` values on, within the cache by `check`, as the
        // positions are below its capacity; `out` has room for a block.
        unsafe { pack_columns(s, from.as_ptr(), stride, hd, count, out) };
    }
}

dispatch!(fn pack_all(call: &Call<'_>, group: usize, out: &mut [f32]) = pack_all_body);

/// Transposes all keys that a row of the call reads.
#[inline(always)]
fn pack_all_body<S: Simd>(s: S, call: &Call<'_>, group: usize, out: &mut [f32]) {
    let (place, kv) = (call.places.of(group / call.p.kv_heads), group % call.p.kv_heads);
    let len = if place.count == 0 { 0 } else { place.start + place.count };
    for (block, out) in out.chunks_exact_mut(packed_len(call.p.head_dim, KEYS).max(1)).enumerate() {
        if block * KEYS < len {
            call.pack(s, place, kv, block, len, out);
        }
    }
}

dispatch!(
    fn tiles_task(call: &Call<'_>, packed: &mut Packed<'_>, group: usize, first: usize, end: usize) = tiles_body
);

/// Buffers of a tile, on the stack, written before they are read.
struct Tile {
    queries: MaybeUninit<[f32; ROWS * MAX_HEAD_DIM]>,
    scores: MaybeUninit<[f32; ROWS * ROUND]>,
    out: MaybeUninit<[f32; ROWS * MAX_HEAD_DIM]>,
}

/// Tiles `first..end` of one sequence and key head.
#[inline(always)]
fn tiles_body<S: Simd>(
    s: S,
    call: &Call<'_>,
    packed: &mut Packed<'_>,
    group: usize,
    first: usize,
    end: usize,
) {
    let p = call.p;
    let (row, kv) = (group / p.kv_heads, group % p.kv_heads);
    let place = call.places.of(row);
    let mut tile =
        Tile { queries: MaybeUninit::uninit(), scores: MaybeUninit::uninit(), out: MaybeUninit::uninit() };
    let real = place.count * p.group();
    for t in first..end {
        let (from, to) = (t * ROWS, ((t + 1) * ROWS).min(p.cache.tokens * p.group()));
        let live = real.clamp(from, to) - from;
        if live > 0 {
            one_tile(s, call, packed, &mut tile, (row, kv, place), from, live);
        }
        for i in from + live..to {
            // SAFETY: this task owns this row and head of `o`.
            unsafe { call.o.slice(output_at(p, row, kv, i), p.head_dim).fill(0.0) };
        }
    }
}

/// Where row `i` of the matrix of a sequence and key head lies in `q` and `o`.
#[inline(always)]
fn output_at(p: &CachedAttention, row: usize, kv: usize, i: usize) -> usize {
    let (token, head) = (i / p.group(), kv * p.group() + i % p.group());
    ((row * p.cache.tokens + token) * p.heads + head) * p.head_dim
}

/// Rows `first .. first + rows` of a sequence and key head, all of them real.
#[inline(always)]
fn one_tile<S: Simd>(
    s: S,
    call: &Call<'_>,
    packed: &mut Packed<'_>,
    tile: &mut Tile,
    (row, kv, place): (usize, usize, Place),
    first: usize,
    rows: usize,
) {
    let p = call.p;
    let (hd, group, capacity) = (p.head_dim, p.group(), p.cache.capacity);
    let queries = tile.queries.as_mut_ptr().cast::<f32>();
    let scores = tile.scores.as_mut_ptr().cast::<f32>();
    let out = tile.out.as_mut_ptr().cast::<f32>();
    for i in 0..rows {
        let from = &call.q[output_at(p, row, kv, first + i)..][..hd];
        // SAFETY: the buffer has `ROWS` rows of at most `MAX_HEAD_DIM` values, and `rows <= ROWS`, `hd <= MAX_HEAD_DIM`.
        unsafe { queries.add(i * hd).copy_from_nonoverlapping(from.as_ptr(), hd) };
    }
    let position = |i: usize| place.start + (first + i) / group;
    // Positions that some row of the tile may see.
    let len = position(rows - 1) + 1;
    let all = place.start + place.count;
    let segments = call.segments.map(|segments| &segments[place.slot * capacity..][..all]);
    let mut highest = [LOW; ROWS];
    let mut total = [0.0_f32; ROWS];
    let mut fresh = true;
    for round in (0..len).step_by(ROUND) {
        let blocks = (len - round).min(ROUND).div_ceil(KEYS);
        let sees = |block: usize| {
            segments.is_none_or(|segments| {
                let keys = round + block * KEYS..(round + (block + 1) * KEYS).min(len);
                (0..rows).any(|i| keys.clone().any(|key| sees(Some(segments), position(i), key)))
            })
        };
        // Blocks at both ends that nobody sees are left out; one between is hidden, so that the sums keep their order.
        let Some(begin) = (0..blocks).find(|&block| sees(block)) else { continue };
        let end = (begin..blocks).rfind(|&block| sees(block)).map_or(begin, |last| last) + 1;
        for block in begin..end {
            let at = round / KEYS + block;
            let keys: &[f32] = match packed {
                Packed::All(keys) => &keys[at * packed_len(hd, KEYS)..][..packed_len(hd, KEYS)],
                Packed::One(room) => {
                    call.pack(s, place, kv, at, all, room);
                    room
                }
            };
            // SAFETY: the packed block is `[hd, 32]`; both buffers have `rows <= ROWS` rows, the scores `ROUND` columns.
            unsafe {
                let left = Left { ptr: queries, row: hd, col: 1 };
                let to = scores.add((block - begin) * KEYS);
                gemm_serial::<S, true>(
                    s,
                    rows,
                    KEYS,
                    hd,
                    left,
                    keys.as_ptr(),
                    KEYS,
                    to,
                    ROUND,
                    p.scale,
                    Update::Set,
                );
            }
        }
        let width = (end - begin) * KEYS;
        for i in 0..rows {
            // SAFETY: the first `width` scores of the first `rows` rows were written just now.
            let x = unsafe { std::slice::from_raw_parts_mut(scores.add(i * ROUND), width) };
            hide(segments, position(i), round + begin * KEYS, x);
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
        let key = round + begin * KEYS;
        let update = if std::mem::take(&mut fresh) { Update::Set } else { Update::Continue };
        let values = &call.values[(place.slot * capacity + key) * p.narrow() + kv * hd..];
        // SAFETY: probabilities of these keys were written above; the keys are positions below `len`, so rows of the cache
        // by `check`; the output tile has `rows` rows of `hd`.
        unsafe {
            let left = Left { ptr: scores, row: ROUND, col: 1 };
            let count = width.min(len - key);
            gemm_serial::<S, false>(
                s,
                rows,
                hd,
                count,
                left,
                values.as_ptr(),
                p.narrow(),
                out,
                hd,
                1.0,
                update,
            );
        }
    }
    for i in 0..rows {
        // SAFETY: every row sees itself, so some round wrote all rows of the output tile; this task owns this row and head
        // of `o`.
        let (from, to) = unsafe {
            (
                std::slice::from_raw_parts(out.add(i * hd), hd),
                call.o.slice(output_at(p, row, kv, first + i), hd),
            )
        };
        let factor = Vf::splat(s, 1.0 / total[i]);
        simd::map1!(s, from, to, |x| x * factor);
    }
}

/// Whether the query at position `t` sees the key at position `key`.
#[inline(always)]
fn sees(segments: Option<&[i32]>, t: usize, key: usize) -> bool {
    key <= t
        && segments.is_none_or(|segments| {
            key == t || (segments[t] != -1 && (segments[key] == 0 || segments[key] == segments[t]))
        })
}

/// Hides the scores of the keys from `first` on that the query at position `t` does not see.
#[inline(always)]
fn hide(segments: Option<&[i32]>, t: usize, first: usize, scores: &mut [f32]) {
    let own = (t + 1).saturating_sub(first).min(scores.len());
    if segments.is_some() {
        for (i, x) in scores[..own].iter_mut().enumerate() {
            *x = if sees(segments, t, first + i) { *x } else { f32::NEG_INFINITY };
        }
    }
    scores[own..].fill(f32::NEG_INFINITY);
}
