//! The two-layer projector from vision width to language width.

use crossloom_graph::Tensor;
use crossloom_ir::op::{Unary, UnaryKind};
use crossloom_recipe::{Model, Part};

use crate::ModelError;
use crate::linear::Linear;
use crate::params::Params;
use crate::vision::activation;

/// Weights of a projector.
pub(crate) struct ProjectorWeights {
    pub(crate) first: Linear,
    pub(crate) second: Linear,
}

impl ProjectorWeights {
    /// Declares them under `{prefix}.linear_1` and `{prefix}.linear_2`, for so many vision states side by side.
    pub(crate) fn declare(p: &mut Params, part: Part, prefix: &str, model: &Model, states: usize) -> Self {
        let (inner, bias) = (model.projector.hidden, model.projector.bias);
        let width = states * model.vision.hidden;
        let first = p.linear(part, &format!("{prefix}.linear_1"), inner, width, bias);
        let second = p.linear(part, &format!("{prefix}.linear_2"), model.language.hidden, inner, bias);
        Self { first, second }
    }

    /// The input's own projector.
    pub(crate) fn shared(p: &mut Params, model: &Model, states: usize) -> Self {
        Self::declare(p, Part::Projector, "multi_modal_projector", model, states)
    }

    /// `[B, N, states * Dv]` to `[B, N, D]`.
    pub(crate) fn apply(&self, p: &mut Params, x: Tensor, model: &Model) -> Result<Tensor, ModelError> {
        let hidden = self.first.apply(p, x)?;
        let hidden = act(p, hidden, model)?;
        self.second.apply(p, hidden)
    }

    /// Whether one of its layers has a low-rank pair.
    pub(crate) fn is_adapted(&self) -> bool {
        self.first.pair.is_some() || self.second.pair.is_some()
    }

    /// The weights in the operand order of `amp_project`.
    pub(crate) fn operands(&self) -> Vec<Tensor> {
        [self.first, self.second].iter().flat_map(|l| [Some(l.weight), l.bias]).flatten().collect()
    }
}

/// Between its two layers.
pub(crate) fn act(p: &mut Params, hidden: Tensor, model: &Model) -> Result<Tensor, ModelError> {
    Ok(p.graph.one(Unary(UnaryKind::Act(activation(model.projector.activation))), &[hidden])?)
}
