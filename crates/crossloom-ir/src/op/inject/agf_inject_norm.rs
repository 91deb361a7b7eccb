//! `agf_inject_norm`: the gated update of a hidden state and the norm of what it becomes, in one sweep.

use super::AgfInject;
use crate::attrs::Attrs;
use crate::op::spec::{OpSpec, ensure};
use crate::op::{LayerNorm, RmsNorm};
use crate::{Builder, Cost, IrError, Real, Tensor, TensorType, Value};

/// Which norm reads the updated state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// [`LayerNorm`]: operands `gamma`, `beta`; outputs also `mean`.
    Layer,
    /// [`RmsNorm`]: operand `gamma`.
    Rms,
}

impl NormKind {
    /// The printed name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Layer => "layer",
            Self::Rms => "rms",
        }
    }

    /// The kind of that printed name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Layer, Self::Rms].into_iter().find(|kind| kind.name() == name)
    }

    /// Weights of the norm, and statistics of a row.
    pub const fn vectors(self) -> usize {
        match self {
            Self::Layer => 2,
            Self::Rms => 1,
        }
    }
}

/// `s = agf_inject(h); y = norm(s)`. Operands: those of [`AgfInject`], `h [B, T, D]`, `gate`, `v`, `index`, then the norm's `gamma [D]`
/// and, of a layer norm, `beta [D]`. Outputs: `s`, `y`, and the statistics of the norm, `[B, T]` each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AgfInjectNorm {
    /// The update.
    pub inject: AgfInject,
    /// The norm.
    pub norm: NormKind,
    /// Added to the variance or mean square.
    pub eps: f64,
}

impl AgfInjectNorm {
    /// The norm alone: of its input and weights.
    fn emit_norm(&self, b: &mut Builder<'_>, operands: &[Value]) -> Result<Vec<Value>, IrError> {
        match self.norm {
            NormKind::Layer => b.push(LayerNorm { eps: self.eps }, operands),
            NormKind::Rms => b.push(RmsNorm { eps: self.eps }, operands),
        }
    }
}

/// The attributes of an update and a norm.
pub(super) fn attrs_of(inject: AgfInject, norm: NormKind) -> Attrs {
    inject.attrs().word("norm", norm.name())
}

/// Reads what [`attrs_of`] gave.
pub(super) fn take_attrs(mnemonic: &str, attrs: &mut Attrs) -> Result<(AgfInject, NormKind), String> {
    Ok((AgfInject::from_attrs(mnemonic, attrs)?, attrs.take_word("norm", NormKind::from_name)?))
}

impl OpSpec for AgfInjectNorm {
    const MNEMONICS: &'static [&'static str] = &["agf_inject_norm"];

    fn attrs(&self) -> Attrs {
        attrs_of(self.inject, self.norm).float("eps", self.eps)
    }

    fn from_attrs(mnemonic: &str, attrs: &mut Attrs) -> Result<Self, String> {
        let (inject, norm) = take_attrs(mnemonic, attrs)?;
        Ok(Self { inject, norm, eps: attrs.take_float("eps")? })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        let count = 4 + self.norm.vectors();
        ensure(inputs.len() == count, || format!("takes {count} operands, {} were given", inputs.len()))?;
        let mut outputs = self.inject.infer(&inputs[..4])?;
        let operands = [&[&outputs[0]], &inputs[4..]].concat();
        let normed = match self.norm {
            NormKind::Layer => LayerNorm { eps: self.eps }.infer(&operands),
            NormKind::Rms => RmsNorm { eps: self.eps }.infer(&operands),
        }?;
        outputs.extend(normed);
        Ok(outputs)
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let mut outputs = self.inject.eval(&inputs[..4])?;
        let operands = [&[&outputs[0]], &inputs[4..]].concat();
        let normed = match self.norm {
            NormKind::Layer => LayerNorm { eps: self.eps }.eval(&operands),
            NormKind::Rms => RmsNorm { eps: self.eps }.eval(&operands),
        }?;
        outputs.extend(normed);
        Ok(outputs)
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let state = b.one(self.inject, &inputs[..4])?;
        let normed = self.emit_norm(b, &[&[state], &inputs[4..]].concat())?;
        Ok(Some([&[state], &normed[..]].concat()))
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        let update = if self.inject.convex { 3 } else { 2 };
        let norm = if self.norm == NormKind::Layer { 8 } else { 4 };
        let flops = update * inputs[2].elements() as u64 + norm * inputs[0].elements() as u64;
        Cost::new(flops, inputs, outputs)
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        vec![(0, 0)]
    }
}
