//! Which query-key pairs take part: per tile (none, all, some) and per element.

use super::{Attention, KEYS};
use crate::simd::{Simd, Vf};

/// How a tile of queries and a block of keys meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meet {
    /// No pair takes part.
    None,
    /// Some pairs take part.
    Some,
    /// All pairs take part.
    All,
}

/// The mask of one sample.
#[derive(Clone, Copy)]
pub(super) struct Mask<'a> {
    causal: bool,
    /// Position of the first query among the keys.
    offset: usize,
    keys: usize,
    /// Segment of every key.
    segments: Option<&'a [i32]>,
}

impl<'a> Mask<'a> {
    pub(super) fn new(p: &Attention, segments: Option<&'a [i32]>, sample: usize) -> Self {
        Self {
            causal: p.causal,
            offset: if p.causal { p.k_len - p.q_len } else { 0 },
            keys: p.k_len,
            segments: segments.map(|s| &s[sample * p.k_len..(sample + 1) * p.k_len]),
        }
    }

    /// How queries `q .. q + rows` and the keys of block `block` meet.
    pub(super) fn meet(&self, q: usize, rows: usize, block: usize) -> Meet {
        let (t0, t1) = (q + self.offset, q + self.offset + rows);
        let (s0, s1) = (block * KEYS, ((block + 1) * KEYS).min(self.keys));
        if self.causal && s0 >= t1 {
            return Meet::None;
        }
        let whole = (!self.causal || s1 <= t0 + 1) && s1 - s0 == KEYS;
        let Some(segments) = self.segments else {
            return if whole { Meet::All } else { Meet::Some };
        };
        let (queries, keys) = (&segments[t0..t1], &segments[s0..s1]);
        let range = |x: &[i32]| x.iter().fold((i32::MAX, i32::MIN), |(lo, hi), &x| (lo.min(x), hi.max(x)));
        let ((q_lo, q_hi), (k_lo, k_hi)) = (range(queries), range(keys));
        let uniform_keys = k_lo == k_hi && (k_lo == 0 || (q_lo == q_hi && q_lo == k_lo));
        if k_lo >= 0 && q_lo >= 0 && uniform_keys {
            return if whole { Meet::All } else { Meet::Some };
        }
        // A key of the shared prefix, one of the query's own segment, or the query itself.
        let prefix = q_hi >= 0 && k_lo <= 0 && keys.contains(&0);
        let own = q_lo.max(1) <= k_hi && k_lo <= q_hi;
        let itself = s0 < t1 && t0 < s1;
        if prefix || own || itself { Meet::Some } else { Meet::None }
    }

    /// The keys of one block, ready for comparing.
    #[inline(always)]
    pub(super) fn keys_of(&self, block: usize) -> Keys {
        let mut keys = Keys { position: [f32::INFINITY; KEYS], segment: [-2.0; KEYS] };
        for i in 0..KEYS.min(self.keys - block * KEYS) {
            let at = block * KEYS + i;
            keys.position[i] = at as f32;
            keys.segment[i] = self.segments.map_or(0.0, |s| s[at] as f32);
        }
        keys
    }

    /// Position, segment and last visible position of query `q`.
    #[inline(always)]
    pub(super) fn query(&self, q: usize) -> Query {
        let at = q + self.offset;
        let position = at as f32;
        Query {
            // Where keys and queries are not aligned, nothing is "itself"; it is allowed anyway.
            position: if self.segments.is_some() { position } else { -1.0 },
            segment: self.segments.map_or(0.0, |s| s[at] as f32),
            limit: if self.causal { position } else { f32::MAX },
        }
    }
}

/// The keys of one block as floats (exact up to 2^24 positions).
pub(super) struct Keys {
    position: [f32; KEYS],
    segment: [f32; KEYS],
}

/// One query as floats.
#[derive(Clone, Copy)]
pub(super) struct Query {
    position: f32,
    segment: f32,
    limit: f32,
}

/// Replaces the values of pairs that take no part: `x[i]` belongs to key `i` of the block.
#[inline(always)]
pub(super) fn fill_hidden<S: Simd>(s: S, keys: &Keys, query: Query, x: &mut [f32], hidden: f32) {
    let lanes = S::F32_LANES;
    let hidden = Vf::splat(s, hidden);
    for i in (0..KEYS).step_by(lanes) {
        let at = Vf::load(s, &keys.position[i..i + lanes]);
        let segment = Vf::load(s, &keys.segment[i..i + lanes]);
        let x = &mut x[i..i + lanes];
        let value = Vf::load(s, x);
        let own = value.select(segment.eq(Vf::splat(s, query.segment)), hidden);
        let seen = if query.segment < 0.0 {
            // Padding sees itself only.
            hidden
        } else {
            value.select(segment.eq(Vf::zero(s)), own)
        };
        let seen = value.select(at.eq(Vf::splat(s, query.position)), seen);
        hidden.select(Vf::splat(s, query.limit).lt(at), seen).store(x);
    }
}
