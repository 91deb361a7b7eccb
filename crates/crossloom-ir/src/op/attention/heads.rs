//! How rows divide into heads, for the reference loops and for the expansions.

use crate::op::spec::ensure;
use crate::op::{Iota, ToFloat, check, emit};
use crate::{Builder, IrError, TensorType, Value};

/// The heads of an attention and the factor of its scores.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) scale: f64,
}

impl Rule {
    /// Checks queries `[_, _, heads hd]` against keys and values, both `[samples, _, kv_heads hd]` and given with their
    /// names.
    pub(super) fn check(
        self,
        q: &TensorType,
        [(k_name, k), (v_name, v)]: [(&str, &TensorType); 2],
        samples: impl Fn(&TensorType) -> usize,
    ) -> Result<(), String> {
        check::float_axes("q", q, 3)?;
        check::float_axes(k_name, k, 3)?;
        ensure(self.heads > 0 && self.kv_heads > 0 && self.heads.is_multiple_of(self.kv_heads), || {
            format!("{} query heads do not share {} key heads evenly", self.heads, self.kv_heads)
        })?;
        ensure(q.last() > 0 && q.last().is_multiple_of(self.heads), || {
            format!("width {} of q does not divide into {} heads", q.last(), self.heads)
        })?;
        let width = q.last() / self.heads * self.kv_heads;
        check::is_f32(k_name, k, &[samples(k), k.shape[1], width])?;
        check::is(v_name, v, k)?;
        ensure(k.shape[1] > 0, || "has no keys to attend to".to_owned())?;
        ensure(self.scale.is_finite(), || format!("attribute `scale` is {}, must be finite", self.scale))
    }
}

/// Extents of one attention.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extents {
    pub(super) samples: usize,
    pub(super) queries: usize,
    pub(super) keys: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    /// Width of one head.
    pub(super) width: usize,
}

impl Extents {
    pub(super) fn new(q: &[usize], k: &[usize], heads: usize, kv_heads: usize) -> Self {
        Self { samples: q[0], queries: q[1], keys: k[1], heads, kv_heads, width: q[2] / heads }
    }

    /// Every (sample, head, query).
    pub(super) fn each_query(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        let (heads, queries) = (self.heads, self.queries);
        (0..self.samples * heads * queries)
            .map(move |i| (i / queries / heads, i / queries % heads, i % queries))
    }

    /// Flat index of the first element of a query head.
    pub(super) fn query_at(&self, sample: usize, t: usize, head: usize) -> usize {
        ((sample * self.queries + t) * self.heads + head) * self.width
    }

    /// Flat index of the first element of the key head that a query head reads.
    pub(super) fn key_at(&self, sample: usize, s: usize, head: usize) -> usize {
        ((sample * self.keys + s) * self.kv_heads + head * self.kv_heads / self.heads) * self.width
    }
}

/// `[B, T, heads hd]` to `[B heads, T, hd]`.
pub(super) fn split(b: &mut Builder<'_>, x: Value, heads: usize) -> Result<Value, IrError> {
    let [samples, rows, width] = three(b, x);
    let x = b.reshape(x, &[samples, rows, heads, width / heads])?;
    let x = b.transpose(x, &[0, 2, 1, 3])?;
    b.reshape(x, &[samples * heads, rows, width / heads])
}

/// `[B heads, T, hd]` back to `[B, T, heads hd]`.
pub(super) fn merge(b: &mut Builder<'_>, x: Value, heads: usize) -> Result<Value, IrError> {
    let [all, rows, width] = three(b, x);
    let samples = all / heads;
    let x = b.reshape(x, &[samples, heads, rows, width])?;
    let x = b.transpose(x, &[0, 2, 1, 3])?;
    b.reshape(x, &[samples, rows, heads * width])
}

/// Keys or values `[B, Tk, kv_heads hd]` to `[B heads, Tk, hd]`, each key head repeated for its query heads.
pub(super) fn split_shared(b: &mut Builder<'_>, x: Value, e: &Extents) -> Result<Value, IrError> {
    let x = split(b, x, e.kv_heads)?;
    if e.heads == e.kv_heads {
        return Ok(x);
    }
    let group = e.heads / e.kv_heads;
    let x = b.broadcast(x, &[e.samples * e.kv_heads, group, e.keys, e.width], &[0, 2, 3])?;
    b.reshape(x, &[e.samples * e.heads, e.keys, e.width])
}

/// Gradients of repeated heads `[B heads, Tk, hd]`, summed over each group, back to `[B, Tk, kv_heads hd]`.
pub(super) fn merge_shared(b: &mut Builder<'_>, x: Value, e: &Extents) -> Result<Value, IrError> {
    let group = e.heads / e.kv_heads;
    let x = b.reshape(x, &[e.samples * e.kv_heads, group, e.keys, e.width])?;
    let x = b.reduce_sum(x, &[1])?;
    merge(b, x, e.kv_heads)
}

/// A mask `[B, Tq, Tk]` of the pairs that take part; nothing if all do.
pub(super) fn allowed_pairs(
    b: &mut Builder<'_>,
    e: &Extents,
    causal: bool,
    segments: Option<Value>,
) -> Result<Option<Value>, IrError> {
    if !causal && segments.is_none() {
        return Ok(None);
    }
    let shape = vec![e.samples, e.queries, e.keys];
    let query = b.one(Iota { shape: shape.clone(), axis: 1 }, &[])?;
    let key = b.one(Iota { shape: shape.clone(), axis: 2 }, &[])?;
    let mut allowed = None;
    if let Some(segments) = segments {
        let segments = b.one(ToFloat, &[segments])?;
        let of_query = b.broadcast(segments, &shape, &[0, 1])?;
        let of_key = b.broadcast(segments, &shape, &[0, 2])?;
        let itself = emit::equal(b, query, key)?;
        allowed = Some(segments_allow(b, of_query, of_key, itself)?);
    }
    if causal {
        let past = b.affine(query, 1.0, (e.keys - e.queries + 1) as f64)?;
        let before = emit::less(b, key, past)?;
        allowed = Some(match allowed {
            None => before,
            Some(shared) => b.mul(shared, before)?,
        });
    }
    Ok(allowed)
}

/// 1 where the segment of a query lets it see a key: segment 0 and its own; padding (-1) sees itself only. `itself` is 1
/// where key and query are one position.
pub(super) fn segments_allow(
    b: &mut Builder<'_>,
    of_query: Value,
    of_key: Value,
    itself: Value,
) -> Result<Value, IrError> {
    let prefix = emit::equals(b, of_key, 0.0)?;
    let same = emit::equal(b, of_query, of_key)?;
    let shared = emit::either(b, prefix, same)?;
    let pad_query = emit::equals(b, of_query, -1.0)?;
    let pad_key = emit::equals(b, of_key, -1.0)?;
    let padding = emit::either(b, pad_query, pad_key)?;
    let filled = emit::complement(b, padding)?;
    let shared = b.mul(shared, filled)?;
    emit::either(b, shared, itself)
}

/// Adds a large negative number to those scores `[B heads, Tq, Tk]` that the mask `[B, Tq, Tk]` leaves out.
pub(super) fn forbid(
    b: &mut Builder<'_>,
    e: &Extents,
    scores: Value,
    allowed: Value,
) -> Result<Value, IrError> {
    let forbidden = emit::complement(b, allowed)?;
    let bias = b.affine(forbidden, emit::FORBIDDEN, 0.0)?;
    let bias = b.broadcast(bias, &[e.samples, e.heads, e.queries, e.keys], &[0, 2, 3])?;
    let bias = b.reshape(bias, &[e.samples * e.heads, e.queries, e.keys])?;
    b.add(scores, bias)
}

fn three(b: &Builder<'_>, x: Value) -> [usize; 3] {
    let shape = b.func().shape(x);
    [shape[0], shape[1], shape[2]]
}
