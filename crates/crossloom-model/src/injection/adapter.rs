//! From vision width to language width, for all injected taps at once.

use crossloom_graph::Tensor;
use crossloom_ir::op::{AmpProject, Attach, LayerNorm};
use crossloom_ir::{Role, TensorType};
use crossloom_recipe::{Adapter, AmpAttach, Model, Part, TapNorm, VisionAddress};

use crate::params::Params;
use crate::projector::ProjectorWeights;
use crate::vision::{States, activation};
use crate::{Init, ModelError, inputs};

/// The aligned features of all injected taps, stacked.
pub(crate) struct Features {
    /// `[K, B, N, D]`, in the order of `taps`.
    stacked: Tensor,
    taps: Vec<VisionAddress>,
}

impl Features {
    /// Those that were computed before, as an input.
    pub(crate) fn given(p: &mut Params, taps: &[VisionAddress], model: &Model, batch: usize) -> Self {
        let ty = TensorType::f32([taps.len(), batch, model.vision.tokens(), model.language.hidden]);
        Self { stacked: p.graph.param(inputs::FEATURES, Role::Input, ty), taps: taps.to_vec() }
    }

    /// All, `[K, B, N, D]`.
    pub(crate) fn stacked(&self) -> Tensor {
        self.stacked
    }

    /// The features of some taps, `[k, B, N, D]`, in that order.
    pub(crate) fn select(&self, p: &mut Params, taps: &[VisionAddress]) -> Result<Tensor, ModelError> {
        if taps == self.taps {
            return Ok(self.stacked);
        }
        let mut parts = Vec::with_capacity(taps.len());
        for tap in taps {
            let missing = || ModelError::Incomplete(format!("an edge leaves `{tap}`, which is no tap"));
            let index = self.taps.iter().position(|t| t == tap).ok_or_else(missing)?;
            parts.push(p.graph.slice(self.stacked, 0, index, 1)?);
        }
        if let [only] = parts[..] { Ok(only) } else { Ok(p.graph.concat(&parts, 0)?) }
    }
}

/// Aligns every tap with the language model.
pub(crate) fn adapt(
    p: &mut Params,
    states: &States,
    taps: &[VisionAddress],
    adapter: &Adapter,
    model: &Model,
) -> Result<Features, ModelError> {
    p.enter("adapter");
    let mut inputs = Vec::with_capacity(taps.len());
    for &tap in taps {
        let state = states.get(tap)?;
        inputs.push(match adapter.tap_norm() {
            TapNorm::None => state,
            TapNorm::Layer => {
                let name = format!("injection.adapter.{tap}.norm");
                let [gain, offset] = p.layer_norm(Part::Adapter, &name, model.vision.hidden);
                p.graph.one(LayerNorm { eps: model.vision.norm_eps }, &[state, gain, offset])?
            }
        });
    }
    let stacked = match adapter {
        Adapter::PerTap { .. } => per_tap(p, &inputs, taps, model)?,
        Adapter::Shared { .. } => project(p, inputs, Attach::None, 1.0, Vec::new(), model)?,
        Adapter::Amp { rank, alpha, attach, .. } => {
            let branches = taps.iter().flat_map(|tap| branch(p, *tap, *attach, *rank, model)).collect();
            let attach = match attach {
                AmpAttach::Parallel => Attach::Parallel,
                AmpAttach::PerLinear => Attach::PerLinear,
            };
            project(p, inputs, attach, alpha / *rank as f64, branches, model)?
        }
    };
    p.leave();
    Ok(Features { stacked, taps: taps.to_vec() })
}

/// The shared projector over all taps, with low-rank branches or without: one operator.
fn project(
    p: &mut Params,
    inputs: Vec<Tensor>,
    attach: Attach,
    scale: f64,
    branches: Vec<Tensor>,
    model: &Model,
) -> Result<Tensor, ModelError> {
    let weights = ProjectorWeights::shared(p, model, 1);
    let op = AmpProject {
        taps: inputs.len(),
        act: activation(model.projector.activation),
        scale,
        bias: model.projector.bias,
        attach,
    };
    let operands: Vec<Tensor> = inputs.into_iter().chain(weights.operands()).chain(branches).collect();
    Ok(p.graph.one(op, &operands)?)
}

/// The low-rank matrices of one tap: A random, B zero.
fn branch(p: &mut Params, tap: VisionAddress, attach: AmpAttach, rank: usize, model: &Model) -> Vec<Tensor> {
    let (from, inner, to) = (model.vision.hidden, model.projector.hidden, model.language.hidden);
    let mut pair = |prefix: String, out: usize, fan_in: usize| {
        let a =
            p.param(Part::Adapter, &format!("{prefix}lora_A.weight"), &[rank, fan_in], Init::linear(fan_in));
        let b = p.param(Part::Adapter, &format!("{prefix}lora_B.weight"), &[out, rank], Init::ZEROS);
        [a, b]
    };
    match attach {
        AmpAttach::Parallel => pair(format!("injection.adapter.{tap}."), to, from).to_vec(),
        AmpAttach::PerLinear => {
            let first = pair(format!("injection.adapter.{tap}.linear_1."), inner, from);
            let second = pair(format!("injection.adapter.{tap}.linear_2."), to, inner);
            [first, second].concat()
        }
    }
}

/// A projector of its own for every tap.
fn per_tap(
    p: &mut Params,
    inputs: &[Tensor],
    taps: &[VisionAddress],
    model: &Model,
) -> Result<Tensor, ModelError> {
    let mut parts = Vec::with_capacity(inputs.len());
    for (&input, tap) in inputs.iter().zip(taps) {
        let prefix = format!("injection.adapter.{tap}.projector");
        let weights = ProjectorWeights::declare(p, Part::Adapter, &prefix, model, 1);
        let features = weights.apply(p, input, model)?;
        let mut shape = vec![1];
        shape.extend_from_slice(p.graph.shape(features));
        parts.push(p.graph.reshape(features, &shape)?);
    }
    if let [only] = parts[..] { Ok(only) } else { Ok(p.graph.concat(&parts, 0)?) }
}
