//! Attention of new positions over a cache that holds them.
//!
//! The query heads that share a key head are rows of one matrix, position by position, cut into tiles of 24 rows. Keys are
//! taken in blocks of 32, transposed, eight blocks to a round with a running softmax between rounds. Which keys are in a
//! round depends on their positions alone, and keys that a row does not see add zeros to its sums: a row has the same
//! bits whatever other rows are in the call, however many positions the call has, and whatever the cache has room for.
//! Without segments they are also those of causal [`attention`](crate::kernels::attention) over the whole sequence.

use super::tile::{Tile, Walk, pack_block};
use super::{KEYS, MAX_HEAD_DIM, QUERIES as ROWS, SCORES as ROUND};
use crate::element::{Floats, FloatsMut};
use crate::kernels::cache::{CacheShape, Place, Places};
use crate::kernels::error::{KernelError, need, same};
use crate::kernels::float_mat::{FloatMat, FloatMatMut};
use crate::kernels::gemm::packed_len;
use crate::parallel::{self, SharedMut};
use crate::simd::{Simd, dispatch};

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

    /// Rows and columns of queries and results, and of the cache.
    fn extents(&self) -> [(usize, usize); 2] {
        let cache = &self.cache;
        [
            (cache.rows * cache.tokens, self.heads * self.head_dim),
            (cache.slots * cache.capacity, self.kv_heads * self.head_dim),
        ]
    }

    fn check(&self, segments: Option<usize>) -> Result<(), KernelError> {
        let name = "cached_attention";
        same(name, "heads % kv_heads", self.heads % self.kv_heads.max(1), 0)?;
        if self.heads > 0 {
            need(name, "kv_heads", self.kv_heads, 1)?;
        }
        need(name, "largest head_dim", MAX_HEAD_DIM, self.head_dim)?;
        let positions = self.cache.slots * self.cache.capacity;
        segments.map_or(Ok(()), |len| need(name, "segments", len, positions))
    }
}

/// Attention of the new positions of every row over the keys up to their own, which the cache holds already. `o` is 0
/// behind a row's `count`. With `segments [slots, capacity]` a query sees segment 0 and its own; padding (-1) sees itself
/// only and is seen by nobody else. Operands and result are of either float type. `scratch` holds [`CachedAttention::scratch_len`] values.
///
/// # Errors
/// Where a buffer is too short or a place is outside of the cache.
pub fn cached_attention<'a>(
    p: &CachedAttention,
    q: impl Into<Floats<'a>>,
    keys: impl Into<Floats<'a>>,
    values: impl Into<Floats<'a>>,
    segments: Option<&[i32]>,
    places: &Places<'_>,
    o: impl Into<FloatsMut<'a>>,
    scratch: &mut [f32],
) -> Result<(), KernelError> {
    p.check(segments.map(<[i32]>::len))?;
    let [(rows, cols), (kv_rows, kv_cols)] = p.extents();
    let call = Call {
        p,
        q: FloatMat::new(q, rows, cols)?,
        keys: FloatMat::new(keys, kv_rows, kv_cols)?,
        values: FloatMat::new(values, kv_rows, kv_cols)?,
        segments,
        places,
        o: FloatMatMut::new(o, rows, cols)?,
    };
    run(&call, scratch)
}

fn run(call: &Call<'_>, scratch: &mut [f32]) -> Result<(), KernelError> {
    let p = call.p;
    need("cached_attention", "scratch", scratch.len(), p.scratch_len())?;
    call.places.check("cached_attention", &p.cache, false)?;
    let (groups, size) = (p.cache.rows * p.kv_heads, p.task_scratch());
    let packed = SharedMut::new(scratch);
    if p.packs_all() {
        parallel::for_each(groups, |group| {
            // SAFETY: each sequence and key head has its own part of the scratch.
            let out = unsafe { packed.slice(group * size, size) };
            pack_all(call, group, out);
        });
        let parts = p.tiles().div_ceil(TILES);
        parallel::for_each(groups * parts, |task| {
            let (group, first) = (task / parts, task % parts * TILES);
            // SAFETY: packed above; nobody writes it any more.
            let keys: &[f32] = unsafe { packed.slice(group * size, size) };
            tiles_task(call, &mut Packed::All(keys), group, first, (first + TILES).min(p.tiles()));
        });
    } else {
        parallel::for_each(groups, |group| {
            // SAFETY: each sequence and key head has its own part of the scratch, and is one task.
            let block = unsafe { packed.slice(group * size, size) };
            tiles_task(call, &mut Packed::One(block), group, 0, p.tiles());
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
    q: FloatMat<'a>,
    keys: FloatMat<'a>,
    values: FloatMat<'a>,
    segments: Option<&'a [i32]>,
    places: &'a Places<'a>,
    o: FloatMatMut<'a>,
}

impl Call<'_> {
    /// Transposes a block of keys, of which `len` positions exist: `[head_dim, 32]`, zero-padded.
    #[inline(always)]
    fn pack<S: Simd>(&self, s: S, place: Place, kv: usize, block: usize, len: usize, out: &mut [f32]) {
        let at = (place.slot * self.p.cache.capacity + block * KEYS, kv * self.p.head_dim);
        // SAFETY: these are rows and columns of the cache, as positions are below its capacity; `out` has room for a block.
        unsafe { pack_block(s, self.keys, at, KEYS.min(len - block * KEYS), self.p.head_dim, out) };
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
    let mut tile = Tile::new();
    let real = place.count * p.group();
    for t in first..end {
        let (from, to) = (t * ROWS, ((t + 1) * ROWS).min(p.cache.tokens * p.group()));
        let live = real.clamp(from, to) - from;
        if live > 0 {
            one_tile(s, call, packed, &mut tile, (row, kv, place), from, live);
        }
        for i in from + live..to {
            // SAFETY: this task owns this row and head of `o`.
            unsafe {
                let (row, col) = output_at(p, row, kv, i);
                call.o.clear(row, col, p.head_dim);
            }
        }
    }
}

/// In which row and from which column on row `i` of the matrix of a sequence and key head lies in `q` and `o`.
#[inline(always)]
fn output_at(p: &CachedAttention, row: usize, kv: usize, i: usize) -> (usize, usize) {
    let (token, head) = (i / p.group(), kv * p.group() + i % p.group());
    (row * p.cache.tokens + token, head * p.head_dim)
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
    let at = |i: usize| output_at(p, row, kv, first + i);
    let mut walk = Walk::start(s, tile, call.q, (rows, hd), at);
    let position = |i: usize| place.start + (first + i) / group;
    // Positions that some row of the tile may see.
    let len = position(rows - 1) + 1;
    let all = place.start + place.count;
    let segments = call.segments.map(|segments| &segments[place.slot * capacity..][..all]);
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
            // SAFETY: the block is packed, and a round has as many slots as blocks.
            unsafe { walk.score(s, keys, block - begin, p.scale) };
        }
        let width = (end - begin) * KEYS;
        let key = round + begin * KEYS;
        // SAFETY: these scores were written just now; the keys are positions below `len`, so rows of the cache.
        unsafe {
            for i in 0..rows {
                hide(segments, position(i), key, walk.row(i, 0, width));
            }
            walk.soften(s, width);
            let at = (place.slot * capacity + key, kv * hd);
            walk.add(s, 0, call.values, at, width.min(len - key));
        }
    }
    for i in 0..rows {
        // SAFETY: this task owns this row and head of `o`.
        unsafe { walk.finish(s, i, &call.o, at(i)) };
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
