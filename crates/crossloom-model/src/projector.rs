//! The two-layer projector from vision width to language width, and what is done to a vision state in front of it.

use crossloom_graph::Tensor;
use crossloom_ir::op::{LayerNorm, Unary, UnaryKind};
use crossloom_recipe::{Merging, Model, Part, TapNorm};

use crate::ModelError;
use crate::linear::Linear;
use crate::params::Params;
use crate::vision::activation;
use crate::window_queries::WindowQueries;

/// What the names of the input's own projector begin with.
pub(crate) const SHARED: &str = "multi_modal_projector";

/// Weights of a projector of two linear layers.
pub(crate) struct ProjectorWeights {
    pub(crate) first: Linear,
    pub(crate) second: Linear,
}

impl ProjectorWeights {
    /// Declares them under `{prefix}.linear_1` and `{prefix}.linear_2`, for so many vision states side by side.
    pub(crate) fn declare(p: &mut Params, part: Part, prefix: &str, model: &Model, states: usize) -> Self {
        Self::reading(p, part, prefix, model, states * model.merged_width())
    }

    /// The same for rows of that width.
    pub(crate) fn reading(p: &mut Params, part: Part, prefix: &str, model: &Model, width: usize) -> Self {
        let (inner, bias) = (model.projector.hidden, model.projector.bias);
        let first = p.linear(part, &format!("{prefix}.linear_1"), inner, width, bias);
        let second = p.linear(part, &format!("{prefix}.linear_2"), model.language.hidden, inner, bias);
        Self { first, second }
    }

    /// The input's own projector, of one state.
    pub(crate) fn shared(p: &mut Params, model: &Model) -> Self {
        Self::declare(p, Part::Projector, SHARED, model, 1)
    }

    /// What [`prepared`] gives of the states, `[B, N, ..]`, to `[B, N, D]`.
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

/// What a projector of the model's kind, with weights of that part under a prefix, makes of so many states that are
/// [`prepared`]: `[B, N, D]`. `corner` is that of [`WindowQueries`].
pub(crate) fn projected(
    p: &mut Params,
    (part, prefix): (Part, &str),
    x: Tensor,
    states: usize,
    corner: Option<usize>,
    model: &Model,
) -> Result<Tensor, ModelError> {
    match model.projector.windows() {
        Some(windows) => WindowQueries { part, prefix, windows, corner, model }.apply(p, x),
        None => ProjectorWeights::declare(p, part, prefix, model, states).apply(p, x, model),
    }
}

/// A vision state `[B, patches, W]`, or several side by side, as a projector reads it, `[B, N, m m W]` or, of means, `[B, N, W]`:
/// blocks of m by m patches are one token, and a norm under that name is in front of or behind the merging. A tap that has a row per
/// token already stays as it is.
pub(crate) fn prepared(
    p: &mut Params,
    part: Part,
    name: &str,
    norm: TapNorm,
    state: Tensor,
    model: &Model,
) -> Result<Tensor, ModelError> {
    let normed = |p: &mut Params, x: Tensor| {
        let width = p.graph.ty(x).last();
        let [gain, offset] = p.layer_norm(part, name, width);
        p.graph.one(LayerNorm { eps: model.vision.norm_eps }, &[x, gain, offset])
    };
    let mut x = state;
    if norm == TapNorm::Layer {
        x = normed(p, x)?;
    }
    let (merge, grid) = (model.projector.merge, model.visual_grid());
    if merge > 1 && p.graph.shape(x)[1] != grid * grid {
        let [batch, width] = [p.graph.shape(x)[0], p.graph.ty(x).last()];
        x = p.graph.reshape(x, &[batch, grid, merge, grid, merge, width])?;
        x = match model.projector.merging {
            Merging::Channels => {
                let blocks = p.graph.transpose(x, &[0, 1, 3, 2, 4, 5])?;
                p.graph.reshape(blocks, &[batch, grid * grid, merge * merge * width])?
            }
            Merging::Mean => {
                let sum = p.graph.reduce_sum(x, &[2, 4])?;
                let mean = p.graph.affine(sum, ((merge * merge) as f64).recip(), 0.0)?;
                p.graph.reshape(mean, &[batch, grid * grid, width])?
            }
        };
    }
    if norm == TapNorm::Merged {
        x = normed(p, x)?;
    }
    Ok(x)
}

/// Between its two layers.
pub(crate) fn act(p: &mut Params, hidden: Tensor, model: &Model) -> Result<Tensor, ModelError> {
    Ok(p.graph.one(Unary(UnaryKind::Act(activation(model.projector.activation))), &[hidden])?)
}
