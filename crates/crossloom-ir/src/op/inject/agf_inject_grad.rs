//! `agf_inject_grad`: the gated update backwards.

use super::AgfInject;
use super::agf_inject::check_operands;
use crate::attrs::Attrs;
use crate::op::rows::sample_rows;
use crate::op::spec::OpSpec;
use crate::op::{GatherRows, ScatterMode, ScatterRows, check, emit};
use crate::{Builder, Cost, IrError, Real, Tensor, TensorType, Value};

/// Gradients of `agf_inject`. Operands: `dh' [B, T, D]`, `gate`, `v [K, B, N, D]`, `index [B, N]` and, if `convex`,
/// `h [B, T, D]`. Outputs: `dv`, `dgate` and, if `convex`, `dh`; otherwise `dh` is `dh'`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AgfInjectGrad {
    /// As in [`AgfInject::convex`].
    pub convex: bool,
    /// As in [`AgfInject::channel`].
    pub channel: bool,
}

impl AgfInjectGrad {
    fn forward(self) -> AgfInject {
        AgfInject { convex: self.convex, channel: self.channel }
    }
}

impl OpSpec for AgfInjectGrad {
    const MNEMONICS: &'static [&'static str] = &["agf_inject_grad"];

    fn attrs(&self) -> Attrs {
        self.forward().attrs()
    }

    fn from_attrs(mnemonic: &str, attrs: &mut Attrs) -> Result<Self, String> {
        let AgfInject { convex, channel } = AgfInject::from_attrs(mnemonic, attrs)?;
        Ok(Self { convex, channel })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        let names = ["dh'", "gate", "v", "index", "h"];
        check::count(inputs, &names[..4 + usize::from(self.convex)])?;
        let grad = inputs[0];
        check::float_axes("dh'", grad, 3)?;
        check_operands(self.forward(), grad, [inputs[1], inputs[2], inputs[3]])?;
        let mut outputs = vec![inputs[2].clone(), inputs[1].clone()];
        if self.convex {
            check::is("h", inputs[4], grad)?;
            outputs.push(grad.clone());
        }
        Ok(outputs)
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let [grad, gate, v, index] = [inputs[0], inputs[1], inputs[2], inputs[3]];
        let (taps, samples, tokens, d) = (v.shape[0], v.shape[1], v.shape[2], v.shape[3]);
        let (mut dv, mut dgate) = (vec![0.0; v.data.len()], vec![0.0; gate.data.len()]);
        let mut dh: Vec<f64> = (0..grad.data.len()).map(|i| grad.at(i)).collect();
        for (slot, row) in sample_rows(index, grad.shape[1], true)?.into_iter().enumerate() {
            let (sample, token) = (slot / tokens, slot % tokens);
            let Some(row) = row else { continue };
            for c in 0..d {
                let at = (sample * grad.shape[1] + row) * d + c;
                for k in 0..taps {
                    let feature = ((k * samples + sample) * tokens + token) * d + c;
                    let edge = self.forward().gate_at(sample, k, c, &v.shape);
                    dv[feature] = gate.at(edge) * grad.at(at);
                    let towards = if self.convex { v.at(feature) - inputs[4].at(at) } else { v.at(feature) };
                    dgate[edge] += grad.at(at) * towards;
                    if self.convex {
                        dh[at] -= gate.at(edge) * grad.at(at);
                    }
                }
            }
        }
        let mut outputs = vec![
            Tensor::from_fn(v.shape.clone(), |i| dv[i]),
            Tensor::from_fn(gate.shape.clone(), |i| dgate[i]),
        ];
        if self.convex {
            outputs.push(Tensor::from_fn(grad.shape.clone(), |i| dh[i]));
        }
        Ok(outputs)
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let (grad, v, index) = (inputs[0], inputs[2], inputs[3]);
        let shape = b.func().shape(v).to_vec();
        let gate = self.forward().spread_gate(b, inputs[1], &shape)?;
        let rows = b.one(GatherRows, &[grad, index])?;
        let spread = b.broadcast(rows, &shape, &[1, 2, 3])?;
        let dv = b.mul(gate, spread)?;
        let mut towards = v;
        if self.convex {
            let h = b.one(GatherRows, &[inputs[4], index])?;
            let h = b.broadcast(h, &shape, &[1, 2, 3])?;
            towards = b.sub(v, h)?;
        }
        // [K, B, N, D], summed over the tokens and, without a channel axis, over the channels.
        let product = b.mul(spread, towards)?;
        let mut dgate = b.reduce_sum(product, &[2])?;
        dgate = if self.channel {
            b.transpose(dgate, &[1, 0, 2])?
        } else {
            let sum = emit::sum_rows(b, dgate)?;
            b.transpose(sum, &[1, 0])?
        };
        let mut outputs = vec![dv, dgate];
        if self.convex {
            let share = b.reduce_sum(dv, &[0])?;
            let less = b.neg(share)?;
            outputs.push(b.one(ScatterRows { mode: ScatterMode::Add }, &[grad, index, less])?);
        }
        Ok(Some(outputs))
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        let per_element = if self.convex { 5 } else { 3 };
        Cost::new(per_element * inputs[2].elements() as u64, inputs, outputs)
    }
}
