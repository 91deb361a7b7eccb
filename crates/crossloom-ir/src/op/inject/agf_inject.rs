//! `agf_inject`: the gated update of the visual rows of a hidden state (AGF).

use crate::attrs::Attrs;
use crate::grad::GradCx;
use crate::op::rows::sample_rows;
use crate::op::spec::OpSpec;
use crate::op::{AgfInjectGrad, GatherRows, ScatterMode, ScatterRows, check};
use crate::{Builder, Cost, IrError, Real, Tensor, TensorType, Value};

/// Operands: `h [B, T, D]`, `gate [B, K]` or, if `channel`, `[B, K, D]`, `v [K, B, N, D]`, `index [B, N]` (i32: the row
/// of every visual token, distinct in a sample; -1 is skipped). Output: `h' [B, T, D]`, of which the rows in `index`
/// are `h + sum_k gate_k v_k`, or, if `convex`, `h + sum_k gate_k (v_k - h)`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AgfInject {
    /// Blends towards `v` instead of adding it.
    pub convex: bool,
    /// The gate has a channel axis.
    pub channel: bool,
}

impl AgfInject {
    /// The type of the gate.
    pub(super) fn gate_type(self, samples: usize, taps: usize, width: usize) -> TensorType {
        let mut shape = vec![samples, taps];
        shape.extend(self.channel.then_some(width));
        TensorType::f32(shape)
    }

    /// Flat index of the gate of a tap for a column.
    pub(super) fn gate_at(self, sample: usize, tap: usize, column: usize, v: &[usize]) -> usize {
        let edge = sample * v[0] + tap;
        if self.channel { edge * v[3] + column } else { edge }
    }

    /// The gate repeated to `[K, B, N, D]`.
    pub(super) fn spread_gate(self, b: &mut Builder<'_>, gate: Value, v: &[usize]) -> Result<Value, IrError> {
        let perm: &[usize] = if self.channel { &[1, 0, 2] } else { &[1, 0] };
        let gate = b.transpose(gate, perm)?;
        let axes: &[usize] = if self.channel { &[0, 1, 3] } else { &[0, 1] };
        b.broadcast(gate, v, axes)
    }
}

/// Type rule of the operands that forward and backward share.
pub(super) fn check_operands(op: AgfInject, h: &TensorType, rest: [&TensorType; 3]) -> Result<(), String> {
    let [gate, v, index] = rest;
    check::float_axes("v", v, 4)?;
    check::is_f32("v", v, &[v.shape[0], h.shape[0], v.shape[2], h.shape[2]])?;
    check::is("gate", gate, &op.gate_type(h.shape[0], v.shape[0], h.shape[2]))?;
    check::is("index", index, &TensorType::i32([h.shape[0], v.shape[2]]))
}

impl OpSpec for AgfInject {
    const MNEMONICS: &'static [&'static str] = &["agf_inject"];

    fn attrs(&self) -> Attrs {
        Attrs::new().flag("convex", self.convex).flag("channel", self.channel)
    }

    fn from_attrs(_: &str, attrs: &mut Attrs) -> Result<Self, String> {
        Ok(Self { convex: attrs.take_flag("convex")?, channel: attrs.take_flag("channel")? })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        check::count(inputs, &["h", "gate", "v", "index"])?;
        check::float_axes("h", inputs[0], 3)?;
        check_operands(*self, inputs[0], [inputs[1], inputs[2], inputs[3]])?;
        Ok(vec![inputs[0].clone()])
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let [h, gate, v, index] = [inputs[0], inputs[1], inputs[2], inputs[3]];
        let (taps, samples, tokens, d) = (v.shape[0], v.shape[1], v.shape[2], v.shape[3]);
        let mut out: Vec<f64> = (0..h.data.len()).map(|i| h.at(i)).collect();
        for (slot, row) in sample_rows(index, h.shape[1], true)?.into_iter().enumerate() {
            let (sample, token) = (slot / tokens, slot % tokens);
            let Some(row) = row else { continue };
            for c in 0..d {
                let at = (sample * h.shape[1] + row) * d + c;
                for k in 0..taps {
                    let feature = v.at(((k * samples + sample) * tokens + token) * d + c);
                    let towards = if self.convex { feature - h.at(at) } else { feature };
                    out[at] += gate.at(self.gate_at(sample, k, c, &v.shape)) * towards;
                }
            }
        }
        Ok(vec![Tensor::from_fn(h.shape.clone(), |i| out[i])])
    }

    fn gradient(&self, cx: &mut GradCx<'_>) -> Result<(), IrError> {
        let Some(grad) = cx.out_grad(0) else { return Ok(()) };
        let mut operands = vec![grad, cx.input(1), cx.input(2), cx.input(3)];
        if self.convex {
            operands.push(cx.input(0));
        }
        let op = AgfInjectGrad { convex: self.convex, channel: self.channel };
        let grads = cx.builder().push(op, &operands)?;
        cx.add(0, grads.get(2).copied().unwrap_or(grad))?;
        cx.add(1, grads[1])?;
        cx.add(2, grads[0])
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let (h, v, index) = (inputs[0], inputs[2], inputs[3]);
        let shape = b.func().shape(v).to_vec();
        let gate = self.spread_gate(b, inputs[1], &shape)?;
        let gated = b.mul(gate, v)?;
        let mut update = b.reduce_sum(gated, &[0])?;
        if self.convex {
            let rows = b.one(GatherRows, &[h, index])?;
            let share = b.reduce_sum(gate, &[0])?;
            let left = b.mul(share, rows)?;
            update = b.sub(update, left)?;
        }
        Ok(Some(vec![b.one(ScatterRows { mode: ScatterMode::Add }, &[h, index, update])?]))
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        let per_element = if self.convex { 3 } else { 2 };
        Cost::new(per_element * inputs[2].elements() as u64, inputs, outputs)
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        vec![(0, 0)]
    }
}
