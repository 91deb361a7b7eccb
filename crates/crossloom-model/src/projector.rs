//! The two-layer projector from vision width to language width.

use crossloom_graph::Tensor;
use crossloom_ir::op::{Unary, UnaryKind};
use crossloom_recipe::{Model, Part};

use crate::ModelError;
use crate::params::Params;
use crate::vision::activation;

/// Weights of a projector.
pub(crate) struct ProjectorWeights {
    pub(crate) w1: Tensor,
    pub(crate) b1: Option<Tensor>,
    pub(crate) w2: Tensor,
    pub(crate) b2: Option<Tensor>,
}

impl ProjectorWeights {
    /// Declares them under `{prefix}.linear_1` and `{prefix}.linear_2`, for so many vision states side by side.
    pub(crate) fn declare(p: &mut Params, part: Part, prefix: &str, model: &Model, states: usize) -> Self {
        let (inner, bias) = (model.projector.hidden, model.projector.bias);
        let width = states * model.vision.hidden;
        let (w1, b1) = p.linear(part, &format!("{prefix}.linear_1"), inner, width, bias);
        let (w2, b2) = p.linear(part, &format!("{prefix}.linear_2"), model.language.hidden, inner, bias);
        Self { w1, b1, w2, b2 }
    }

    /// The input's own projector.
    pub(crate) fn shared(p: &mut Params, model: &Model, states: usize) -> Self {
        Self::declare(p, Part::Projector, "multi_modal_projector", model, states)
    }

    /// `[B, N, states * Dv]` to `[B, N, D]`.
    pub(crate) fn apply(&self, p: &mut Params, x: Tensor, model: &Model) -> Result<Tensor, ModelError> {
        let hidden = p.graph.linear(x, self.w1, self.b1)?;
        let hidden = p.graph.one(Unary(UnaryKind::Act(activation(model.projector.activation))), &[hidden])?;
        Ok(p.graph.linear(hidden, self.w2, self.b2)?)
    }

    /// The weights in the operand order of `amp_project`.
    pub(crate) fn operands(&self) -> Vec<Tensor> {
        [Some(self.w1), self.b1, Some(self.w2), self.b2].into_iter().flatten().collect()
    }
}
