#![allow(clippy::unwrap_used)]

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Attention, CachedAttention, attention, cached_attention};
use crate::kernels::cache::{CacheShape, Places, cache_write};
use crate::kernels::testing::{assert_close, on_threads, random};
use crate::kernels::view::{Mat, MatMut};

/// One sequence: queries, keys and values of `len` positions, and their segments.
struct Sequence {
    len: usize,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    segments: Vec<i32>,
}

/// How the heads of the sequences are shaped.
#[derive(Clone, Copy)]
#[allow(clippy::struct_field_names, reason = "as the kernel's shape names them")]
struct Heads {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl Heads {
    fn wide(self) -> usize {
        self.heads * self.head_dim
    }

    fn narrow(self) -> usize {
        self.kv_heads * self.head_dim
    }

    fn sequence(self, seed: u64, len: usize) -> Sequence {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut segments = vec![0; rng.random_range(1..=len)];
        let mut segment = 1;
        while segments.len() < len {
            let count = rng.random_range(1..=40).min(len - segments.len());
            // A question may go on after others, as generated tokens do; some positions are padding.
            let own = if rng.random_bool(0.1) { -1 } else { rng.random_range(1..=segment) };
            segments.extend(std::iter::repeat_n(own, count));
            segment = 3.min(segment + 1);
        }
        let q = random(seed + 1, len * self.wide()).iter().map(|x| 3.0 * x).collect();
        let (k, v) = (random(seed + 2, len * self.narrow()), random(seed + 3, len * self.narrow()));
        Sequence { len, q, k, v, segments }
    }
}

/// A cache and what is done with it.
struct Cache {
    heads: Heads,
    slots: usize,
    capacity: usize,
    keys: Vec<f32>,
    values: Vec<f32>,
    segments: Vec<i32>,
}

impl Cache {
    /// Full of what may be there from before.
    fn new(heads: Heads, slots: usize, capacity: usize) -> Self {
        let positions = slots * capacity;
        Self {
            heads,
            slots,
            capacity,
            keys: vec![f32::NAN; positions * heads.narrow()],
            values: vec![f32::NAN; positions * heads.narrow()],
            segments: vec![0; positions],
        }
    }

    /// Appends positions `range` of sequences to slots and attends: one result per sequence.
    fn run(
        &mut self,
        tokens: usize,
        call: &[(&Sequence, usize, std::ops::Range<usize>)],
        with_segments: bool,
    ) -> Vec<Vec<f32>> {
        let (heads, rows) = (self.heads, call.len());
        let cache = CacheShape { slots: self.slots, capacity: self.capacity, rows, tokens };
        let slot: Vec<i32> = call.iter().map(|(_, slot, _)| *slot as i32).collect();
        let start: Vec<i32> = call.iter().map(|(_, _, range)| range.start as i32).collect();
        let count: Vec<i32> = call.iter().map(|(_, _, range)| range.len() as i32).collect();
        let places = Places { slot: &slot, start: &start, count: &count };
        let gather = |of: &dyn Fn(&Sequence) -> Vec<f32>, width: usize| {
            let mut all = vec![f32::NAN; rows * tokens * width];
            for (b, (sequence, _, range)) in call.iter().enumerate() {
                let part = &of(sequence)[range.start * width..range.end * width];
                all[b * tokens * width..][..part.len()].copy_from_slice(part);
            }
            all
        };
        let (wide, narrow) = (heads.wide(), heads.narrow());
        let q = gather(&|s| s.q.clone(), wide);
        cache_write(&cache, narrow, &mut self.keys, &gather(&|s| s.k.clone(), narrow), &places).unwrap();
        cache_write(&cache, narrow, &mut self.values, &gather(&|s| s.v.clone(), narrow), &places).unwrap();
        for (sequence, slot, range) in call {
            let to = slot * self.capacity;
            self.segments[to + range.start..to + range.end]
                .copy_from_slice(&sequence.segments[range.clone()]);
        }
        let p = CachedAttention {
            cache,
            heads: heads.heads,
            kv_heads: heads.kv_heads,
            head_dim: heads.head_dim,
            scale: 0.3,
        };
        let mut o = vec![f32::NAN; q.len()];
        let mut scratch = vec![f32::NAN; p.scratch_len()];
        let segments = with_segments.then_some(&self.segments[..]);
        let (keys, values) = (&self.keys[..], &self.values[..]);
        cached_attention(&p, &q[..], keys, values, segments, &places, &mut o[..], &mut scratch).unwrap();
        let result = |(b, (_, _, range)): (usize, &(&Sequence, usize, std::ops::Range<usize>))| {
            let row = &o[b * tokens * wide..(b + 1) * tokens * wide];
            let (real, rest) = row.split_at(range.len() * wide);
            assert!(rest.iter().all(|&x| x == 0.0), "nothing is seen behind the count");
            real.to_vec()
        };
        call.iter().enumerate().map(result).collect()
    }
}

/// Softmax attention in `f64`, query by query.
fn reference(heads: Heads, s: &Sequence, with_segments: bool) -> Vec<f32> {
    let (hd, wide, narrow) = (heads.head_dim, heads.wide(), heads.narrow());
    let mut o = vec![0.0; s.len * wide];
    for t in 0..s.len {
        let own = s.segments[t];
        let sees =
            |&key: &usize| !with_segments || key == t || (own != -1 && [0, own].contains(&s.segments[key]));
        let seen: Vec<usize> = (0..=t).filter(sees).collect();
        for h in 0..heads.heads {
            let kv = h * heads.kv_heads / heads.heads;
            let product = |key: usize| -> f64 {
                (0..hd)
                    .map(|c| {
                        f64::from(s.q[t * wide + h * hd + c]) * f64::from(s.k[key * narrow + kv * hd + c])
                    })
                    .sum()
            };
            let weights: Vec<f64> =
                seen.iter().map(|&key| (f64::from(0.3_f32) * product(key)).exp()).collect();
            let total: f64 = weights.iter().sum();
            for c in 0..hd {
                let sum: f64 = (seen.iter().zip(&weights))
                    .map(|(&key, w)| w * f64::from(s.v[key * narrow + kv * hd + c]))
                    .sum();
                o[t * wide + h * hd + c] = (sum / total) as f32;
            }
        }
    }
    o
}

const SHAPES: [(Heads, usize); 5] = [
    (Heads { heads: 1, kv_heads: 1, head_dim: 1 }, 3),
    (Heads { heads: 4, kv_heads: 2, head_dim: 5 }, 70),
    (Heads { heads: 3, kv_heads: 1, head_dim: 16 }, 33),
    (Heads { heads: 2, kv_heads: 2, head_dim: 24 }, 300),
    (Heads { heads: 8, kv_heads: 1, head_dim: 64 }, 600),
];

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn a_sequence_has_the_same_bits_however_it_is_cut_and_whatever_stands_beside_it() {
    for (n, (heads, len)) in SHAPES.into_iter().enumerate() {
        let (a, b) = (heads.sequence(n as u64, len), heads.sequence(50 + n as u64, len / 2 + 1));
        for with_segments in [false, true] {
            // All at once, alone, in a cache that just holds it.
            let whole = Cache::new(heads, 1, len).run(len, &[(&a, 0, 0..len)], with_segments).remove(0);
            assert_close(&whole, &reference(heads, &a, with_segments), 2e-5);
            let other = Cache::new(heads, 1, b.len).run(b.len, &[(&b, 0, 0..b.len)], with_segments).remove(0);
            // A chunk, and then token by token, beside another sequence, in a larger cache, one slot unused.
            let mut cache = Cache::new(heads, 3, len + 37);
            let first = (len / 3).max(1);
            let start_b = b.len - b.len.min(2);
            let call = [(&b, 1, 0..start_b), (&a, 2, 0..first)];
            let mut parts = cache.run(first.max(start_b) + 2, &call, with_segments);
            let (mut of_a, mut of_b) = (parts.remove(1), parts.remove(0));
            for t in first..len {
                let at_b = (start_b + t - first).min(b.len);
                let mut parts =
                    cache.run(1, &[(&a, 2, t..t + 1), (&b, 1, at_b..(at_b + 1).min(b.len))], with_segments);
                of_b.extend(parts.remove(1));
                of_a.extend(parts.remove(0));
            }
            assert_eq!(bits(&of_a), bits(&whole), "shape {n}, segments {with_segments}");
            assert_eq!(bits(&of_b), bits(&other[..of_b.len()]), "shape {n}, segments {with_segments}");
        }
    }
}

#[test]
fn without_segments_a_cached_sequence_has_the_bits_of_causal_attention() {
    for (n, (heads, len)) in SHAPES.into_iter().enumerate() {
        let s = heads.sequence(n as u64, len);
        let cached = Cache::new(heads, 1, len + 5).run(len, &[(&s, 0, 0..len)], false).remove(0);
        let Heads { heads: h, kv_heads, head_dim } = heads;
        let p = Attention {
            batch: 1,
            q_len: len,
            k_len: len,
            heads: h,
            kv_heads,
            head_dim,
            scale: 0.3,
            causal: true,
        };
        let mut o = vec![f32::NAN; s.q.len()];
        let (mut lse, mut scratch) = (vec![0.0; h * len], vec![0.0; p.scratch_len()]);
        let mat = |x, cols| Mat::new(x, len, cols).unwrap();
        let out = MatMut::new(&mut o, len, heads.wide()).unwrap();
        let (q, k, v) = (mat(&s.q, heads.wide()), mat(&s.k, heads.narrow()), mat(&s.v, heads.narrow()));
        attention(&p, q, k, v, None, out, &mut lse, &mut scratch).unwrap();
        assert_eq!(bits(&cached), bits(&o), "shape {n}");
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let (heads, len) = SHAPES[3];
    let s = heads.sequence(9, len);
    let run = || Cache::new(heads, 1, len).run(len, &[(&s, 0, 0..len)], true).remove(0);
    assert_eq!(bits(&on_threads(1, run)), bits(&on_threads(4, run)));
}
