//! Softmax attention with grouped heads, causal and segment masks, tiled so that no row of scores is ever whole.
//!
//! Keys are cut into blocks of 32, whose transposes are packed once per key head into the scratch; queries into tiles
//! of 24 rows. A tile visits only the blocks that its mask leaves, keeps a running maximum and sum (forward), or
//! recomputes the probabilities from the saved log-sum-exp (backward). Blocks that only its neighbours see add zeros to a
//! row's sums, which go on from run to run of keys in one order: a row has the same bits alone and among others.
//!
//! What is read is widened and what is written is rounded where a tile begins and ends; everything between is `f32`.
//! A task of the backward pass is a sample and key head with all query heads of its group; where these are few, tiles are
//! dealt out to a number of parts that the shape tells, each with sums of its own, which are added in order: gradients of
//! keys and values have one order whatever the number of threads.

mod backward;
mod cached;
#[cfg(test)]
mod cached_tests;
mod forward;
mod mask;
#[cfg(test)]
mod mixed_tests;
#[cfg(test)]
mod tests;
mod tile;

pub use backward::attention_grad;
pub use cached::{CachedAttention, cached_attention};
pub use forward::attention;

use super::error::{KernelError, need, same};
use super::float_mat::FloatMat;
use super::gemm::packed_len;
use crate::simd::{Simd, dispatch};
use mask::{Mask, Meet};
use tile::pack_block;

/// Keys of one block; also the width of a packed panel.
const KEYS: usize = 32;
/// Queries of one tile.
const QUERIES: usize = 24;
/// Tasks that the backward pass is cut into at least, where there is so much work: fewer heads are cut along the queries.
const TASKS: usize = 16;
/// Blocks that a tile takes at a time.
const SLOTS: usize = 8;
/// Columns of the buffer that holds the scores of a tile.
const SCORES: usize = SLOTS * KEYS;
/// The widest head.
const MAX_HEAD_DIM: usize = 256;

/// The shape of an attention call: `q [batch q_len, heads head_dim]`, `k` and `v [batch k_len, kv_heads head_dim]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention {
    /// Samples.
    pub batch: usize,
    /// Queries of a sample.
    pub q_len: usize,
    /// Keys of a sample.
    pub k_len: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`. Query head `h` reads key head `h kv_heads / heads`.
    pub kv_heads: usize,
    /// Width of a head, at most 256.
    pub head_dim: usize,
    /// Factor of the scores, usually `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// No query sees a later key; the last query stands at the last key.
    pub causal: bool,
}

impl Attention {
    /// Scratch values of [`attention`]: the transposed keys.
    pub fn scratch_len(&self) -> usize {
        self.batch * self.kv_heads * self.packed_head()
    }

    /// Scratch values of [`attention_grad`]: the transposed keys and values, and the sums of their gradients where these
    /// are not made in the results: those of every part of the queries where there are several, and those of a result
    /// that `is_narrow`.
    pub fn grad_scratch_len(&self, is_narrow: bool) -> usize {
        let sums = if self.sums_apart(is_narrow) { self.parts() * 2 * self.head_len() } else { 0 };
        2 * self.scratch_len() + self.batch * self.kv_heads * sums
    }

    /// Whether sums of gradients of keys and values are made in the scratch.
    fn sums_apart(&self, is_narrow: bool) -> bool {
        is_narrow || self.parts() > 1
    }

    /// Values of one key head of a sample.
    fn head_len(&self) -> usize {
        self.k_len * self.head_dim
    }

    /// Tiles of queries of all heads that share a key head.
    fn tiles(&self) -> usize {
        self.group() * self.q_len.div_ceil(QUERIES)
    }

    /// Parts that the tiles of one key head are worked on in by the backward pass, each with sums of its own.
    fn parts(&self) -> usize {
        TASKS.div_ceil((self.batch * self.kv_heads).max(1)).min(self.tiles().div_ceil(2)).max(1)
    }

    /// Floating-point operations of the forward pass over all pairs that the causal mask leaves; the backward pass
    /// does 2.5 times as many.
    pub fn flops(&self) -> usize {
        let all = self.q_len * self.k_len;
        let pairs = if self.causal { all - self.q_len * self.q_len.saturating_sub(1) / 2 } else { all };
        4 * self.batch * self.heads * self.head_dim * pairs
    }

    /// Blocks of keys.
    fn blocks(&self) -> usize {
        self.k_len.div_ceil(KEYS)
    }

    /// Values of one packed key head.
    fn packed_head(&self) -> usize {
        self.blocks() * packed_len(self.head_dim, KEYS)
    }

    /// Query heads of one key head.
    fn group(&self) -> usize {
        self.heads / self.kv_heads.max(1)
    }

    /// Checks sizes that both directions share.
    fn check(
        &self,
        name: &'static str,
        [q, k, v, o]: [(usize, usize); 4],
        segments: Option<&[i32]>,
        lse: usize,
    ) -> Result<(), KernelError> {
        same(name, "heads % kv_heads", self.heads % self.kv_heads.max(1), 0)?;
        if self.heads > 0 {
            need(name, "kv_heads", self.kv_heads, 1)?;
        }
        need(name, "largest head_dim", MAX_HEAD_DIM, self.head_dim)?;
        let (wide, narrow) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        for (operand, (rows, cols), length, width) in [
            ("q", q, self.q_len, wide),
            ("k", k, self.k_len, narrow),
            ("v", v, self.k_len, narrow),
            ("o", o, self.q_len, wide),
        ] {
            same(name, operand, rows, self.batch * length)?;
            same(name, operand, cols, width)?;
        }
        if self.causal {
            need(name, "k_len", self.k_len, self.q_len)?;
        }
        if let Some(segments) = segments {
            same(name, "k_len with segments", self.k_len, self.q_len)?;
            need(name, "segments", segments.len(), self.batch * self.k_len)?;
        }
        need(name, "lse", lse, self.batch * self.heads * self.q_len)
    }
}

/// The blocks that a tile of queries visits next.
struct Slots {
    block: [usize; SLOTS],
    meet: [Meet; SLOTS],
    count: usize,
}

impl Slots {
    /// The blocks of a round that take part, of the first round from block `*next` on that has any; moves `*next` behind
    /// it. A round is [`SLOTS`] blocks by their places among the keys, whichever of them the tile visits: then what a
    /// query sees does not depend on what its neighbours in the tile see.
    fn collect(mask: &Mask<'_>, q: usize, rows: usize, blocks: usize, next: &mut usize) -> Option<Self> {
        while *next < blocks {
            let mut slots = Self { block: [0; SLOTS], meet: [Meet::None; SLOTS], count: 0 };
            let end = (*next + SLOTS).min(blocks);
            for block in *next..end {
                let meet = mask.meet(q, rows, block);
                if meet != Meet::None {
                    slots.block[slots.count] = block;
                    slots.meet[slots.count] = meet;
                    slots.count += 1;
                }
            }
            *next = end;
            if slots.count > 0 {
                return Some(slots);
            }
        }
        None
    }

    /// The run of adjacent blocks from slot `*start` on, as its first slot, first key and number of keys; moves
    /// `*start` behind it.
    fn next_run(&self, start: &mut usize, k_len: usize) -> Option<(usize, usize, usize)> {
        let slot = *start;
        if slot >= self.count {
            return None;
        }
        let mut end = slot + 1;
        while end < self.count && self.block[end] == self.block[end - 1] + 1 {
            end += 1;
        }
        *start = end;
        let first = self.block[slot] * KEYS;
        Some((slot, first, ((end - slot) * KEYS).min(k_len - first)))
    }
}

dispatch!(fn pack_head(p: &Attention, x: FloatMat<'_>, group: usize, out: &mut [f32]) = pack_head_body);

/// Packs the transpose of one head of a sample's keys or values: per block of keys, `[head_dim, 32]`, zero-padded.
#[inline(always)]
fn pack_head_body<S: Simd>(s: S, p: &Attention, x: FloatMat<'_>, group: usize, out: &mut [f32]) {
    let (sample, kv) = (group / p.kv_heads, group % p.kv_heads);
    for (block, out) in out.chunks_exact_mut(packed_len(p.head_dim, KEYS).max(1)).enumerate() {
        let first = block * KEYS;
        let at = (sample * p.k_len + first, kv * p.head_dim);
        // SAFETY: the block's rows and the head's columns lie within the view, which `check` compared with the shape;
        // `out` has room for the block.
        unsafe { pack_block(s, x, at, KEYS.min(p.k_len - first), p.head_dim, out) };
    }
}
