//! `attention`: softmax attention with heads, grouped keys, causal and segment masks.

use super::AttentionGrad;
use super::heads::{self, Extents, Rule};
use crate::attrs::Attrs;
use crate::grad::GradCx;
use crate::op::spec::{OpSpec, ensure};
use crate::op::{UnaryKind, check, emit};
use crate::{Builder, Cost, IrError, Real, Tensor, TensorType, Value};

/// Operands: `q [B, Tq, heads hd]`, `k [B, Tk, kv_heads hd]`, `v [B, Tk, kv_heads hd]` and, with `segments`,
/// `segments [B, T]` (i32, `T = Tq = Tk`). Outputs: `o [B, Tq, heads hd]`, `lse [B, heads, Tq]`, the log-sum-exp of
/// the scaled scores. Query head `h` reads key head `h kv_heads / heads`. Which pairs take part: see
/// [`Attention::allows`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// No query sees a later key. The last query stands at the last key, so that fewer queries than keys continue a
    /// cached sequence.
    pub causal: bool,
    /// A segment number per position is given.
    pub segments: bool,
    /// Factor of the scores, usually `1 / sqrt(hd)`.
    pub scale: f64,
}

impl Attention {
    /// Whether the query at position `t` sees the key at position `s`; both count from the first key. `segments` are
    /// the segment numbers of query and key: everyone sees segment 0 (the shared prefix) and its own segment; padding
    /// (-1) sees itself only and is seen by nobody else.
    pub fn allows(&self, t: usize, s: usize, segments: Option<(i64, i64)>) -> bool {
        let shared = match segments {
            None => true,
            Some((query, key)) => t == s || (query != -1 && key != -1 && (key == 0 || key == query)),
        };
        (!self.causal || s <= t) && shared
    }

    /// Names of the operands q, k, v and, with segments, the fourth.
    fn names(self) -> &'static [&'static str] {
        if self.segments { &["q", "k", "v", "segments"] } else { &["q", "k", "v"] }
    }

    /// Pairs that take part, per sample and head, as far as the shapes tell: segments can only make them fewer.
    pub(super) fn pairs(self, x: &Extents) -> u64 {
        let (queries, keys) = (x.queries as u64, x.keys as u64);
        if self.causal { queries * (keys - queries) + queries * (queries + 1) / 2 } else { queries * keys }
    }

    /// For one sample and query: the keys it sees.
    pub(super) fn visible<T: Real>(
        self,
        x: &Extents,
        segments: Option<&Tensor<T>>,
        sample: usize,
        query: usize,
    ) -> Vec<usize> {
        let position = if self.causal { query + x.keys - x.queries } else { query };
        let pair =
            |s: usize| segments.map(|g| (g.int(sample * x.keys + position), g.int(sample * x.keys + s)));
        (0..x.keys).filter(|&s| self.allows(position, s, pair(s))).collect()
    }

    /// Adds, to scores `[B heads, Tq, Tk]`, a large negative number to every pair that takes no part.
    pub(super) fn mask_scores(
        self,
        b: &mut Builder<'_>,
        x: &Extents,
        scores: Value,
        segments: Option<Value>,
    ) -> Result<Value, IrError> {
        let Some(allowed) = heads::allowed_pairs(b, x, self.causal, segments)? else { return Ok(scores) };
        heads::forbid(b, x, scores, allowed)
    }
}

impl OpSpec for Attention {
    const MNEMONICS: &'static [&'static str] = &["attention"];

    fn attrs(&self) -> Attrs {
        let attrs = Attrs::new().int("heads", self.heads).int("kv_heads", self.kv_heads);
        attrs.flag("causal", self.causal).flag("segments", self.segments).float("scale", self.scale)
    }

    fn from_attrs(_: &str, attrs: &mut Attrs) -> Result<Self, String> {
        Ok(Self {
            heads: attrs.take_int("heads")?,
            kv_heads: attrs.take_int("kv_heads")?,
            causal: attrs.take_flag("causal")?,
            segments: attrs.take_flag("segments")?,
            scale: attrs.take_float("scale")?,
        })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        check::count(inputs, self.names())?;
        let (q, k) = (inputs[0], inputs[1]);
        let rule = Rule { heads: self.heads, kv_heads: self.kv_heads, scale: self.scale };
        rule.check(q, [("k", k), ("v", inputs[2])], |_| q.shape[0])?;
        let (samples, queries, keys) = (q.shape[0], q.shape[1], k.shape[1]);
        ensure(!self.causal || queries <= keys, || {
            format!("is causal, so {queries} queries cannot stand at the end of {keys} keys")
        })?;
        if self.segments {
            ensure(queries == keys, || {
                format!("has segments, so {queries} queries need as many keys, not {keys}")
            })?;
            check::is("segments", inputs[3], &TensorType::i32([samples, keys]))?;
        }
        Ok(vec![q.clone(), TensorType::f32([samples, self.heads, queries])])
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let [q, k, v] = [inputs[0], inputs[1], inputs[2]];
        let x = Extents::new(&q.shape, &k.shape, self.heads, self.kv_heads);
        let mut o = vec![0.0; q.data.len()];
        let mut lse = vec![0.0; x.samples * x.heads * x.queries];
        for (sample, head, t) in x.each_query() {
            let keys = self.visible(&x, inputs.get(3).copied(), sample, t);
            let score = |s: usize| {
                let dot =
                    |c: usize| q.at(x.query_at(sample, t, head) + c) * k.at(x.key_at(sample, s, head) + c);
                self.scale * (0..x.width).map(dot).sum::<f64>()
            };
            let scores: Vec<f64> = keys.iter().map(|&s| score(s)).collect();
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = scores.iter().map(|score| (score - largest).exp()).sum();
            lse[(sample * x.heads + head) * x.queries + t] = largest + sum.ln();
            for (&s, score) in keys.iter().zip(&scores) {
                let weight = (score - largest).exp() / sum;
                for c in 0..x.width {
                    o[x.query_at(sample, t, head) + c] += weight * v.at(x.key_at(sample, s, head) + c);
                }
            }
        }
        let lse_shape = [x.samples, x.heads, x.queries];
        Ok(vec![Tensor::from_fn(q.shape.clone(), |i| o[i]), Tensor::from_fn(lse_shape, |i| lse[i])])
    }

    fn gradient(&self, cx: &mut GradCx<'_>) -> Result<(), IrError> {
        if cx.out_grad(1).is_some() {
            cx.expand_first();
            return Ok(());
        }
        let Some(grad) = cx.out_grad(0) else { return Ok(()) };
        let mut operands = vec![grad, cx.input(0), cx.input(1), cx.input(2), cx.output(0), cx.output(1)];
        operands.extend(cx.inputs().get(3));
        let grads = cx.builder().push(AttentionGrad(*self), &operands)?;
        (0..3).try_for_each(|i| cx.add(i, grads[i]))
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let x = Extents::new(b.func().shape(inputs[0]), b.func().shape(inputs[1]), self.heads, self.kv_heads);
        let q = heads::split(b, inputs[0], x.heads)?;
        let k = heads::split_shared(b, inputs[1], &x)?;
        let v = heads::split_shared(b, inputs[2], &x)?;
        let scores = b.matmul(q, k, false, true)?;
        let scores = b.affine(scores, self.scale, 0.0)?;
        let scores = self.mask_scores(b, &x, scores, inputs.get(3).copied())?;
        let shape = b.func().shape(scores).to_vec();
        let (powers, sum, largest) = emit::exp_rows(b, scores)?;
        let spread = emit::spread_rows(b, sum, &shape)?;
        let weights = b.div(powers, spread)?;
        let o = b.matmul(weights, v, false, false)?;
        let o = heads::merge(b, o, x.heads)?;
        let log = b.unary(UnaryKind::Log, sum)?;
        let lse = b.add(log, largest)?;
        Ok(Some(vec![o, b.reshape(lse, &[x.samples, x.heads, x.queries])?]))
    }

    /// Counts the pairs under the causal triangle; what segments leave out is not known from the shapes.
    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        let x = Extents::new(&inputs[0].shape, &inputs[1].shape, self.heads, self.kv_heads);
        // Two products of the head width; scale, maximum, subtraction, exponential, sum; the division once per output.
        let per_pair = 4 * x.width as u64 + 5;
        let flops = (x.samples * x.heads) as u64 * self.pairs(&x) * per_pair + inputs[0].elements() as u64;
        Cost::new(flops, inputs, outputs)
    }
}
