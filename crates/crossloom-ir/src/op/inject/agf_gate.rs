//! `agf_gate`: how much of every tap enters, decided from the pooled tap and the pooled hidden state (AGF).

use super::agf_gate_weights::{Operands, Projections, names};
use super::amp_project::apply;
use crate::attrs::Attrs;
use crate::op::activation::sigmoid;
use crate::op::rows::softmax;
use crate::op::spec::{OpSpec, ensure};
use crate::op::{AttnPool, check};
use crate::{Builder, Cost, IrError, Real, Tensor, TensorType, Value};

/// Which projections the pooling attention has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PoolAttention {
    /// None: the query meets the rows themselves.
    None,
    /// Query, key, value and output projections, the same for vision and hidden state.
    Shared,
    /// The same, one set for vision and one for the hidden state.
    Separate,
}

impl PoolAttention {
    /// The printed name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Shared => "shared",
            Self::Separate => "separate",
        }
    }

    /// The kind of that printed name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::None, Self::Shared, Self::Separate].into_iter().find(|kind| kind.name() == name)
    }
}

/// Operands: `h [B, T, D]`, `v [K, B, N, D]`, `pool_mask [B, T]` (0 = not pooled), if `masked` `token_mask [B, N]` (0 = not pooled),
/// `query_vision [D]`, `query_hidden [D]`; with shared projections `wq [D, D]`, `bq [D]`, `wk [D, D]`, `wv [D, D]`, `bv [D]`, `wo [D, D]`,
/// `bo [D]`; with separate ones these seven for vision, then seven for the hidden state; `controller_w [g, 2 D]`,
/// `controller_b [g]` with `g = D` if `channel`, else 1. Output: `gate [B, K]`, or `[B, K, D]` if `channel`, in (0, 1).
///
/// `a_v[k, b]` is what `query_vision` reads from the rows of `v[k, b]` by multi-head attention, `a_h[b]` what
/// `query_hidden` reads from the pooled rows of `h[b]`; `gate = sigmoid(controller_w [a_v ; a_h] + controller_b)`.
/// A sample of which no row, or no token, is pooled reads one row of zeros. There is no key bias: softmax does not see it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AgfGate {
    /// Heads of the attention; 1 without projections.
    pub heads: usize,
    /// Which projections there are.
    pub attention: PoolAttention,
    /// One gate per channel instead of one per tap.
    pub channel: bool,
    /// Some tokens are not pooled.
    pub masked: bool,
}

impl OpSpec for AgfGate {
    const MNEMONICS: &'static [&'static str] = &["agf_gate"];

    fn attrs(&self) -> Attrs {
        let attrs = Attrs::new().int("heads", self.heads).word("attention", self.attention.name());
        attrs.flag("channel", self.channel).flag("masked", self.masked)
    }

    fn from_attrs(_: &str, attrs: &mut Attrs) -> Result<Self, String> {
        Ok(Self {
            heads: attrs.take_int("heads")?,
            attention: attrs.take_word("attention", PoolAttention::from_name)?,
            channel: attrs.take_flag("channel")?,
            masked: attrs.take_flag("masked")?,
        })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        let names = names(*self);
        check::count(inputs, &names.iter().map(String::as_str).collect::<Vec<_>>())?;
        let (h, v) = (inputs[0], inputs[1]);
        check::float_axes("h", h, 3)?;
        check::float_axes("v", v, 4)?;
        let (samples, rows, d) = (h.shape[0], h.shape[1], h.shape[2]);
        check::is_f32("v", v, &[v.shape[0], samples, v.shape[2], d])?;
        ensure(v.shape[2] > 0 && rows > 0, || "has no rows to pool".to_owned())?;
        check::is_f32("pool_mask", inputs[2], &[samples, rows])?;
        if self.masked {
            check::is_f32("token_mask", inputs[3], &[samples, v.shape[2]])?;
        }
        ensure(self.heads > 0 && d > 0 && d.is_multiple_of(self.heads), || {
            format!("width {d} does not divide into {} heads", self.heads)
        })?;
        ensure(self.attention != PoolAttention::None || self.heads == 1, || {
            format!("has no projections, so it has 1 head, not {}", self.heads)
        })?;
        let gates = if self.channel { d } else { 1 };
        for (name, ty) in names.iter().zip(inputs).skip(3 + usize::from(self.masked)) {
            let shape: &[usize] = match name.rsplit(' ').next() {
                Some("controller_w") => &[gates, d.saturating_mul(2)],
                Some("controller_b") => &[gates],
                Some("wq" | "wk" | "wv" | "wo") => &[d, d],
                _ => &[d],
            };
            check::is_f32(name, ty, shape)?;
        }
        let mut shape = vec![samples, v.shape[0]];
        shape.extend(self.channel.then_some(d));
        Ok(vec![TensorType::f32(shape)])
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let o = Operands::new(*self, inputs);
        let (samples, rows, d) = (o.h.shape[0], o.h.shape[1], o.h.shape[2]);
        let (taps, tokens) = (o.v.shape[0], o.v.shape[2]);
        let mut gates = Vec::new();
        for b in 0..samples {
            let pooled = (b * rows..(b + 1) * rows).filter(|&r| o.pool_mask.at(r) != 0.0);
            let mut hidden: Vec<Vec<f64>> = pooled.map(|r| o.h.row(r)).collect();
            if hidden.is_empty() {
                hidden.push(vec![0.0; d]);
            }
            let from_hidden = self.read(o.query_hidden, o.hidden, &hidden);
            for k in 0..taps {
                let first = (k * samples + b) * tokens;
                let pooled =
                    |token: &usize| o.token_mask.is_none_or(|mask| mask.at(b * tokens + token) != 0.0);
                let kept = (0..tokens).filter(pooled);
                let mut vision: Vec<Vec<f64>> = kept.map(|token| o.v.row(first + token)).collect();
                if vision.is_empty() {
                    vision.push(vec![0.0; d]);
                }
                let mut both = self.read(o.query_vision, o.vision, &vision);
                both.extend(&from_hidden);
                gates.extend(apply(o.controller_w, Some(o.controller_b), &both).into_iter().map(sigmoid));
            }
        }
        let mut shape = vec![samples, taps];
        shape.extend(self.channel.then_some(d));
        Ok(vec![Tensor::from_fn(shape, |i| gates[i])])
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let o = Operands::new(*self, inputs);
        let [taps, samples, tokens, d] = [0, 1, 2, 3].map(|axis| b.func().shape(o.v)[axis]);
        let gates = b.func().shape(o.controller_w)[0];
        let v = b.reshape(o.v, &[taps * samples, tokens, d])?;
        let mask = match o.token_mask {
            Some(mask) => {
                let mask = b.broadcast(mask, &[taps, samples, tokens], &[1, 2])?;
                Some(b.reshape(mask, &[taps * samples, tokens])?)
            }
            None => None,
        };
        let from_vision = self.pool(b, v, mask, o.query_vision, o.vision)?;
        let from_hidden = self.pool(b, o.h, Some(o.pool_mask), o.query_hidden, o.hidden)?;
        let on_vision = b.slice(o.controller_w, 1, 0, d)?;
        let on_hidden = b.slice(o.controller_w, 1, d, d)?;
        let by_vision = b.linear(from_vision, on_vision, None)?;
        let by_hidden = b.linear(from_hidden, on_hidden, Some(o.controller_b))?;
        let by_vision = b.reshape(by_vision, &[taps, samples, gates])?;
        let by_hidden = b.broadcast(by_hidden, &[taps, samples, gates], &[1, 2])?;
        let sum = b.add(by_vision, by_hidden)?;
        let gate = b.sigmoid(sum)?;
        let gate = b.transpose(gate, &[1, 0, 2])?;
        let mut shape = vec![samples, taps];
        shape.extend(self.channel.then_some(d));
        Ok(Some(vec![b.reshape(gate, &shape)?]))
    }

    /// Counts the expansion's way: the key projection absorbed into the query, the value projection after pooling.
    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        let (h, v) = (inputs[0], inputs[1]);
        let (d, samples, groups) = (h.last() as u64, h.shape[0] as u64, (v.shape[0] * v.shape[1]) as u64);
        let pooling = (h.rows() + v.rows()) as u64 * self.heads as u64 * (4 * d + 6);
        let projections = match self.attention {
            PoolAttention::None => 0,
            // Per query: project and absorb; per pooled row: values and output, with their biases.
            _ => 2 * (4 * d * d + d) + (groups + samples) * (4 * d * d + 2 * d),
        };
        let gates = inputs[inputs.len() - 1].elements() as u64;
        let controller =
            (groups + samples) * 2 * d * gates + samples * gates + 2 * outputs[0].elements() as u64;
        Cost::new(pooling + projections + controller, inputs, outputs)
    }
}

impl AgfGate {
    /// What a query reads from rows, projecting every row: the definition.
    fn read<T: Real>(
        &self,
        query: &Tensor<T>,
        weights: Option<Projections<&Tensor<T>>>,
        rows: &[Vec<f64>],
    ) -> Vec<f64> {
        let query = query.row(0);
        let d = query.len();
        let Some(w) = weights else { return attend(&query, rows, rows, 0..d) };
        let query = apply(w.wq, Some(w.bq), &query);
        let keys: Vec<Vec<f64>> = rows.iter().map(|row| apply(w.wk, None, row)).collect();
        let values: Vec<Vec<f64>> = rows.iter().map(|row| apply(w.wv, Some(w.bv), row)).collect();
        let width = d / self.heads;
        let context: Vec<f64> = (0..self.heads)
            .flat_map(|head| attend(&query, &keys, &values, head * width..(head + 1) * width))
            .collect();
        apply(w.wo, Some(w.bo), &context)
    }

    /// What a query reads from the rows of every group of `x [G, N, D]`, as `[G, D]`: the fast way.
    fn pool(
        &self,
        b: &mut Builder<'_>,
        x: Value,
        mask: Option<Value>,
        query: Value,
        weights: Option<Projections<Value>>,
    ) -> Result<Value, IrError> {
        let (groups, d) = (b.func().shape(x)[0], b.func().shape(x)[2]);
        let (heads, width) = (self.heads, d / self.heads);
        let op = AttnPool { scale: 1.0 / (width as f64).sqrt(), masked: mask.is_some() };
        let query = b.reshape(query, &[1, d])?;
        let absorbed = match weights {
            None => query,
            Some(w) => {
                // Row h of the absorbed queries is Wk_h^T q_h, so that x . row = (Wk_h x) . q_h.
                let query = b.linear(query, w.wq, Some(w.bq))?;
                let query = b.reshape(query, &[heads, 1, width])?;
                let keys = b.reshape(w.wk, &[heads, width, d])?;
                let absorbed = b.matmul(query, keys, false, false)?;
                b.reshape(absorbed, &[heads, d])?
            }
        };
        let operands: Vec<Value> = [x, absorbed].into_iter().chain(mask).collect();
        let pooled = b.one(op, &operands)?;
        let Some(w) = weights else { return b.reshape(pooled, &[groups, d]) };
        let pooled = b.transpose(pooled, &[1, 0, 2])?;
        let values = b.reshape(w.wv, &[heads, width, d])?;
        let context = b.matmul(pooled, values, false, true)?;
        let context = b.transpose(context, &[1, 0, 2])?;
        let context = b.reshape(context, &[groups, d])?;
        // The probabilities of a head sum to one, so the value bias comes through unchanged.
        let bias = b.broadcast(w.bv, &[groups, d], &[1])?;
        let context = b.add(context, bias)?;
        b.linear(context, w.wo, Some(w.bo))
    }
}

/// One head: the columns `head` of query, keys and values.
fn attend(query: &[f64], keys: &[Vec<f64>], values: &[Vec<f64>], head: std::ops::Range<usize>) -> Vec<f64> {
    let scale = 1.0 / (head.len() as f64).sqrt();
    let score = |key: &Vec<f64>| scale * head.clone().map(|c| query[c] * key[c]).sum::<f64>();
    let probs = softmax(&keys.iter().map(score).collect::<Vec<_>>());
    head.clone().map(|c| probs.iter().zip(values).map(|(p, value)| p * value[c]).sum()).collect()
}
