//! `cached_attention`: attention of new positions over a cache that holds them already.

use super::cache::{self, PLACE_NAMES, Place, places};
use super::heads::{self, Extents, Rule};
use crate::attrs::Attrs;
use crate::grad::GradCx;
use crate::op::spec::OpSpec;
use crate::op::{GatherRows, Iota, ToFloat, ToInt, check, emit};
use crate::{Builder, Cost, IrError, Real, Tensor, TensorType, Value};

/// Operands: `q [B, T, heads hd]`; `keys` and `values [S, C, kv_heads hd]`; with `segments`, `segments [S, C]` i32; `slot`,
/// `start`, `count`, each `[B]` i32. Output: `o [B, T, heads hd]`.
///
/// Query `t` of row `b` stands at position `start[b] + t` of sequence `slot[b]` and sees the keys up to its own position
/// which its segment allows, see [`CachedAttention::allows`]; what lies behind is never read. Keys, values and segments
/// of the new positions have been written before. `o` is 0 where `t` is not below `count[b]`. With `T = 1` it is a step
/// of decoding, with more a chunk of a prompt. No gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CachedAttention {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`. Query head `h` reads key head `h kv_heads / heads`.
    pub kv_heads: usize,
    /// A segment number per position is given.
    pub segments: bool,
    /// Factor of the scores, usually `1 / sqrt(hd)`.
    pub scale: f64,
}

impl CachedAttention {
    /// Whether the query at position `t` sees the key at position `s`; `segments` are the segment numbers of query and
    /// key. The rule of causal [`Attention`](super::Attention).
    pub fn allows(&self, t: usize, s: usize, segments: Option<(i64, i64)>) -> bool {
        let rule = super::Attention {
            heads: self.heads,
            kv_heads: self.kv_heads,
            causal: true,
            segments: self.segments,
            scale: self.scale,
        };
        rule.allows(t, s, segments)
    }

    fn extents(q: &[usize], keys: &[usize]) -> cache::Extents {
        cache::Extents { slots: keys[0], capacity: keys[1], rows: q[0], tokens: q[1] }
    }

    /// Where the operands `slot`, `start`, `count` begin.
    fn first_place(self) -> usize {
        3 + usize::from(self.segments)
    }

    /// `[B, T, C]`: 1 where the key takes part.
    fn allowed(
        b: &mut Builder<'_>,
        x: &cache::Extents,
        at: &cache::Spread,
        segments: Option<(Value, Value)>,
    ) -> Result<Value, IrError> {
        let shape = [x.rows, x.tokens, x.capacity];
        let own = b.add(at.start, at.step)?;
        let own = b.broadcast(own, &shape, &[0, 1])?;
        let key = b.one(Iota { shape: shape.to_vec(), axis: 2 }, &[])?;
        let behind = b.affine(own, 1.0, 1.0)?;
        let mut allowed = emit::less(b, key, behind)?;
        if let Some((of_query, of_key)) = segments {
            let of_query = b.broadcast(of_query, &shape, &[0, 1])?;
            let of_key = b.broadcast(of_key, &shape, &[0, 2])?;
            let itself = emit::equal(b, own, key)?;
            let shared = heads::segments_allow(b, of_query, of_key, itself)?;
            allowed = b.mul(allowed, shared)?;
        }
        let real = b.broadcast(at.real, &shape, &[0, 1])?;
        b.mul(allowed, real)
    }
}

impl OpSpec for CachedAttention {
    const MNEMONICS: &'static [&'static str] = &["cached_attention"];

    fn attrs(&self) -> Attrs {
        let attrs = Attrs::new().int("heads", self.heads).int("kv_heads", self.kv_heads);
        attrs.flag("segments", self.segments).float("scale", self.scale)
    }

    fn from_attrs(_: &str, attrs: &mut Attrs) -> Result<Self, String> {
        Ok(Self {
            heads: attrs.take_int("heads")?,
            kv_heads: attrs.take_int("kv_heads")?,
            segments: attrs.take_flag("segments")?,
            scale: attrs.take_float("scale")?,
        })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        let mut names = vec!["q", "keys", "values"];
        names.extend(self.segments.then_some("segments"));
        names.extend(PLACE_NAMES);
        check::count(inputs, &names)?;
        let (q, keys) = (inputs[0], inputs[1]);
        let rule = Rule { heads: self.heads, kv_heads: self.kv_heads, scale: self.scale };
        // A cache has as many sequences as it has room for.
        rule.check(q, [("keys", keys), ("values", inputs[2])], |keys| keys.shape[0])?;
        if self.segments {
            check::is("segments", inputs[3], &TensorType::i32(&keys.shape[..2]))?;
        }
        cache::check_types(&inputs[self.first_place()..], q.shape[0])?;
        Ok(vec![q.clone()])
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let [q, keys, values] = [inputs[0], inputs[1], inputs[2]];
        let segments = self.segments.then(|| inputs[3]);
        let at = &inputs[self.first_place()..];
        let extents = Self::extents(&q.shape, &keys.shape);
        let places = places(&extents, [at[0], at[1], at[2]])?;
        let x = Extents::new(&q.shape, &keys.shape, self.heads, self.kv_heads);
        let mut o = vec![0.0; q.data.len()];
        for (row, head, step) in x.each_query() {
            let Place { slot, start, count } = places[row];
            if step >= count {
                continue;
            }
            let (t, from) = (start + step, x.query_at(row, step, head));
            let segment = |s: usize| segments.map(|g| g.int(slot * extents.capacity + s));
            let seen = |&s: &usize| self.allows(t, s, segment(t).zip(segment(s)));
            let score = |s: usize| {
                let dot = |c: usize| q.at(from + c) * keys.at(x.key_at(slot, s, head) + c);
                self.scale * (0..x.width).map(dot).sum::<f64>()
            };
            let scores: Vec<(usize, f64)> = (0..=t).filter(seen).map(|s| (s, score(s))).collect();
            let largest = scores.iter().fold(f64::NEG_INFINITY, |largest, &(_, score)| largest.max(score));
            let sum: f64 = scores.iter().map(|(_, score)| (score - largest).exp()).sum();
            for (s, score) in scores {
                let weight = (score - largest).exp() / sum;
                for c in 0..x.width {
                    o[from + c] += weight * values.at(x.key_at(slot, s, head) + c);
                }
            }
        }
        Ok(vec![Tensor::from_fn(q.shape.clone(), |i| o[i])])
    }

    fn gradient(&self, _: &mut GradCx<'_>) -> Result<(), IrError> {
        Err(IrError::new("has no gradient: a cache belongs to prefill and decode, not to training"))
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let [q, keys, values] = [inputs[0], inputs[1], inputs[2]];
        let (q_shape, width) = (b.func().shape(q).to_vec(), b.func().ty(keys).last());
        let x = Self::extents(&q_shape, b.func().shape(keys));
        let at = cache::spread(b, &x, &inputs[self.first_place()..])?;
        let all = x.slots * x.capacity;
        // Every position of the sequence that each row of the call works on.
        let slot = b.one(ToFloat, &[inputs[self.first_place()]])?;
        let slot = b.broadcast(slot, &[x.rows, x.capacity], &[0])?;
        let position = b.one(Iota { shape: vec![x.rows, x.capacity], axis: 1 }, &[])?;
        let of_slot = b.affine(slot, x.capacity as f64, 0.0)?;
        let of_slot = b.add(of_slot, position)?;
        let of_slot = b.one(ToInt, &[of_slot])?;
        let of_slot = b.reshape(of_slot, &[1, x.rows * x.capacity])?;
        let sequences = |b: &mut Builder<'_>, cache: Value, width: usize| {
            let flat = b.reshape(cache, &[1, all, width])?;
            let rows = b.one(GatherRows, &[flat, of_slot])?;
            b.reshape(rows, &[x.rows, x.capacity, width])
        };
        let (keys, values) = (sequences(b, keys, width)?, sequences(b, values, width)?);
        let segments = if self.segments {
            let segments = b.one(ToFloat, &[inputs[3]])?;
            let of_key = sequences(b, segments, 1)?;
            let of_key = b.reshape(of_key, &[x.rows, x.capacity])?;
            let index = cache::index(b, &x, &at)?;
            let flat = b.reshape(segments, &[1, all, 1])?;
            let of_query = b.one(GatherRows, &[flat, index])?;
            Some((b.reshape(of_query, &[x.rows, x.tokens])?, of_key))
        } else {
            None
        };
        let allowed = Self::allowed(b, &x, &at, segments)?;
        let e = Extents::new(&q_shape, &[x.rows, x.capacity, width], self.heads, self.kv_heads);
        let split = heads::split(b, q, e.heads)?;
        let (keys, values) = (heads::split_shared(b, keys, &e)?, heads::split_shared(b, values, &e)?);
        let scores = b.matmul(split, keys, false, true)?;
        let scores = b.affine(scores, self.scale, 0.0)?;
        let scores = heads::forbid(b, &e, scores, allowed)?;
        let shape = b.func().shape(scores).to_vec();
        let (powers, sum, _) = emit::exp_rows(b, scores)?;
        let spread = emit::spread_rows(b, sum, &shape)?;
        let weights = b.div(powers, spread)?;
        let o = b.matmul(weights, values, false, false)?;
        let o = heads::merge(b, o, e.heads)?;
        let real = b.broadcast(at.real, &q_shape, &[0, 1])?;
        Ok(Some(vec![b.mul(o, real)?]))
    }

    /// Counts every position of the cache: how many are filled is not known from the shapes.
    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        let x = Extents::new(&inputs[0].shape, &inputs[1].shape, self.heads, self.kv_heads);
        // Two products of the head width; scale, maximum, subtraction, exponential, sum; the division once per output.
        let per_pair = 4 * x.width as u64 + 5;
        let pairs = (inputs[0].shape[0] * x.heads * x.queries * x.keys) as u64;
        Cost::new(pairs * per_pair + inputs[0].elements() as u64, inputs, outputs)
    }
}
