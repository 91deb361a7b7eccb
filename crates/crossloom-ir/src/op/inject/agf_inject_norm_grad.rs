//! `agf_inject_norm_grad`: a norm and the gated update before it backwards, in one sweep.

use super::agf_inject_norm::{attrs_of, take_attrs};
use super::{AgfInject, AgfInjectGrad, NormKind};
use crate::attrs::Attrs;
use crate::op::spec::{OpSpec, ensure};
use crate::op::{LayerNormGrad, RmsNormGrad};
use crate::{Builder, Cost, IrError, Real, Tensor, TensorType, Value};

/// Gradients of `agf_inject_norm`. Operands: `dy`, the updated state `s`, `gamma`, the statistics of the norm, `ds` if `residual`, then of
/// the update `gate`, `v`, `index` and, if it is convex, the state `h` before it. Outputs: `dh`, `dgamma`, of a layer norm `dbeta`, `dv`,
/// `dgate`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AgfInjectNormGrad {
    /// The update.
    pub inject: AgfInject,
    /// The norm.
    pub norm: NormKind,
    /// A gradient that is added to that of the updated state is given.
    pub residual: bool,
}

impl AgfInjectNormGrad {
    /// Index of `gate` among the operands.
    pub fn first_of_update(&self) -> usize {
        3 + self.norm.vectors() + usize::from(self.residual)
    }

    fn update(&self) -> AgfInjectGrad {
        AgfInjectGrad { convex: self.inject.convex, channel: self.inject.channel }
    }
}

/// From the results of the norm's gradient and the update's to those of both.
fn joined<V: Clone>(mut norm: Vec<V>, update: &[V]) -> Vec<V> {
    if let Some(state) = update.get(2) {
        norm[0] = state.clone();
    }
    norm.extend_from_slice(&update[..2]);
    norm
}

impl OpSpec for AgfInjectNormGrad {
    const MNEMONICS: &'static [&'static str] = &["agf_inject_norm_grad"];

    fn attrs(&self) -> Attrs {
        attrs_of(self.inject, self.norm).flag("residual", self.residual)
    }

    fn from_attrs(mnemonic: &str, attrs: &mut Attrs) -> Result<Self, String> {
        let (inject, norm) = take_attrs(mnemonic, attrs)?;
        Ok(Self { inject, norm, residual: attrs.take_flag("residual")? })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        let first = self.first_of_update();
        let count = first + 3 + usize::from(self.inject.convex);
        ensure(inputs.len() == count, || format!("takes {count} operands, {} were given", inputs.len()))?;
        let residual = self.residual;
        let norm = match self.norm {
            NormKind::Layer => LayerNormGrad { residual }.infer(&inputs[..first]),
            NormKind::Rms => RmsNormGrad { residual }.infer(&inputs[..first]),
        }?;
        let update = self.update().infer(&[&[&norm[0]], &inputs[first..]].concat())?;
        Ok(joined(norm, &update))
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let (first, residual) = (self.first_of_update(), self.residual);
        let norm = match self.norm {
            NormKind::Layer => LayerNormGrad { residual }.eval(&inputs[..first]),
            NormKind::Rms => RmsNormGrad { residual }.eval(&inputs[..first]),
        }?;
        let update = self.update().eval(&[&[&norm[0]], &inputs[first..]].concat())?;
        Ok(joined(norm, &update))
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let (first, residual) = (self.first_of_update(), self.residual);
        let norm = match self.norm {
            NormKind::Layer => b.push(LayerNormGrad { residual }, &inputs[..first]),
            NormKind::Rms => b.push(RmsNormGrad { residual }, &inputs[..first]),
        }?;
        let update = b.push(self.update(), &[&[norm[0]], &inputs[first..]].concat())?;
        Ok(Some(joined(norm, &update)))
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        let norm = if self.norm == NormKind::Layer { 13 } else { 10 };
        let update = if self.inject.convex { 5 } else { 3 };
        let features = inputs[self.first_of_update() + 1].elements() as u64;
        Cost::new(norm * inputs[0].elements() as u64 + update * features, inputs, outputs)
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        if self.residual { vec![(self.first_of_update() - 1, 0)] } else { Vec::new() }
    }
}
