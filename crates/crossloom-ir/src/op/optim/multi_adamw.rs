//! `multi_adamw`: the step of [`AdamW`] of several parameters at once.

use super::AdamW;
use crate::attrs::{Attr, Attrs};
use crate::grad::GradCx;
use crate::op::check;
use crate::op::spec::{OpSpec, ensure};
use crate::{Builder, Cost, IrError, Real, Tensor, TensorType, Value};

/// Operands of one parameter: `p`, `g`, `m`, `v`, `hyper`.
const OPERANDS: usize = 5;
/// Results of one parameter: `p'`, `m'`, `v'`.
const RESULTS: usize = 3;

/// Operands: `scale []`, then for every parameter `p`, `g`, `m`, `v` of one shape and `hyper [3]`. Outputs: for every parameter
/// `p'`, `m'`, `v'`. Each is what [`AdamW`] makes of its parameter; shapes may differ.
#[derive(Clone, Debug, PartialEq)]
pub struct MultiAdamW {
    /// Decay of the first moments.
    pub beta1: f64,
    /// Decay of the second moments.
    pub beta2: f64,
    /// Added to the roots of the second moments.
    pub eps: f64,
    /// By parameter, its share that is taken off per unit of learning rate.
    pub weight_decay: Vec<f64>,
}

impl MultiAdamW {
    /// The step of every parameter alone, with its operands.
    pub fn parts<'v, V: Copy>(&'v self, inputs: &'v [V]) -> impl Iterator<Item = (AdamW, [V; 6])> + 'v {
        let (scale, of_parameters) = inputs.split_at(inputs.len().min(1));
        let Self { beta1, beta2, eps, .. } = *self;
        self.weight_decay.iter().zip(of_parameters.as_chunks::<OPERANDS>().0).flat_map(
            move |(&weight_decay, &[p, g, m, v, hyper])| {
                let op = AdamW { beta1, beta2, eps, weight_decay };
                scale.iter().map(move |&scale| (op, [p, g, m, v, hyper, scale]))
            },
        )
    }
}

impl OpSpec for MultiAdamW {
    const MNEMONICS: &'static [&'static str] = &["multi_adamw"];

    fn attrs(&self) -> Attrs {
        let mut attrs =
            Attrs::new().float("beta1", self.beta1).float("beta2", self.beta2).float("eps", self.eps);
        let decays = self.weight_decay.iter().map(|&decay| Attr::Float(decay)).collect();
        attrs.push("weight_decay", Attr::List(decays));
        attrs
    }

    fn from_attrs(_: &str, attrs: &mut Attrs) -> Result<Self, String> {
        let number = |item: Attr| match item {
            Attr::Float(decay) => Ok(decay),
            Attr::Int(decay) => Ok(decay as f64),
            other => Err(format!("attribute `weight_decay` must list numbers, not {other}")),
        };
        Ok(Self {
            beta1: attrs.take_float("beta1")?,
            beta2: attrs.take_float("beta2")?,
            eps: attrs.take_float("eps")?,
            weight_decay: attrs
                .take_list("weight_decay")?
                .into_iter()
                .map(number)
                .collect::<Result<_, _>>()?,
        })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        let parameters = self.weight_decay.len();
        ensure(parameters > 0, || "takes at least one parameter".to_owned())?;
        ensure(inputs.len() == 1 + OPERANDS * parameters, || {
            format!(
                "takes `scale` and p, g, m, v, hyper of {parameters} parameters, not {} operands",
                inputs.len()
            )
        })?;
        check::is_f32("scale", inputs[0], &[])?;
        let mut outputs = Vec::with_capacity(RESULTS * parameters);
        for (index, (op, operands)) in self.parts(inputs).enumerate() {
            let results = op.infer(&operands).map_err(|error| format!("parameter {index}: {error}"))?;
            outputs.extend(results);
        }
        Ok(outputs)
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let results = self.parts(inputs).map(|(op, operands)| op.eval(&operands));
        Ok(results.collect::<Result<Vec<_>, _>>()?.concat())
    }

    fn gradient(&self, _: &mut GradCx<'_>) -> Result<(), IrError> {
        Err(IrError::new("has no gradient: nothing may be differentiated through the optimizer"))
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let results = self.parts(inputs).map(|(op, operands)| b.push(op, &operands));
        Ok(Some(results.collect::<Result<Vec<_>, _>>()?.concat()))
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        let flops = self.parts(inputs).map(|(op, operands)| op.cost(&operands, &[]).flops).sum();
        Cost::new(flops, inputs, outputs)
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        let of = |parameter: usize| {
            let (input, output) = (1 + OPERANDS * parameter, RESULTS * parameter);
            [(input, output), (input + 2, output + 1), (input + 3, output + 2)]
        };
        (0..self.weight_decay.len()).flat_map(of).collect()
    }
}
