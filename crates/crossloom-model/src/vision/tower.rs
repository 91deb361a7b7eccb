//! A pre-norm vision transformer, every state of which can be tapped.

use crossloom_graph::Tensor;
use crossloom_ir::op::{Activation, Attention, LayerNorm, Unary, UnaryKind};
use crossloom_recipe::{MlpActivation, Part, VisionAddress, VisionModel};

use super::VisionState;
use super::embeddings::{PREFIX, embed};
use super::rotary::Turns;
use crate::params::Params;
use crate::{Init, ModelError};

/// All states of the encoder, each `[B, S, D]`.
pub(crate) struct Tower {
    /// `states[0]` are the embeddings, `states[i]` the output of block i.
    states: Vec<Tensor>,
    post_norm: Option<Tensor>,
    class_token: bool,
}

impl Tower {
    /// Builds the encoder.
    pub(crate) fn build(
        p: &mut Params,
        pixels_bchw: Tensor,
        model: &VisionModel,
    ) -> Result<Self, ModelError> {
        p.enter("vision");
        p.enter("embed");
        let mut states = vec![embed(p, pixels_bchw, model)?];
        p.leave();
        let batch = p.graph.shape(pixels_bchw)[0];
        let turns = Turns::of(p, batch, model)?;
        for layer in 0..model.layers {
            p.enter(&format!("block.{}", layer + 1));
            let next = block(p, states[layer], turns, model, layer)?;
            p.leave();
            states.push(next);
        }
        let post_norm = if model.post_norm {
            p.enter("post_norm");
            let [gain, offset] =
                p.layer_norm(Part::Vision, &format!("{PREFIX}.post_layernorm"), model.hidden);
            let normed =
                p.graph.one(LayerNorm { eps: model.norm_eps }, &[states[model.layers], gain, offset])?;
            p.leave();
            Some(normed)
        } else {
            None
        };
        p.leave();
        Ok(Self { states, post_norm, class_token: model.class_token })
    }

    /// The patch tokens of a state, `[B, N, D]`, those of tiles too, or its class token, `[B, 1, D]`.
    pub(crate) fn tap(&self, p: &mut Params, of: VisionState) -> Result<Tensor, ModelError> {
        let address = of.address();
        let missing = || ModelError::Incomplete(format!("the vision encoder has no state `{address}`"));
        let state = match address {
            VisionAddress::Embed => self.states[0],
            VisionAddress::Block(block) => *self.states.get(block).ok_or_else(missing)?,
            VisionAddress::PostNorm => self.post_norm.ok_or_else(missing)?,
        };
        if !self.class_token {
            return Ok(state);
        }
        let patches = p.graph.shape(state)[1] - 1;
        match of {
            VisionState::Patches(_) | VisionState::Tiles(..) => Ok(p.graph.slice(state, 1, 1, patches)?),
            VisionState::Class(_) => Ok(p.graph.slice(state, 1, 0, 1)?),
        }
    }
}

fn block(
    p: &mut Params,
    x: Tensor,
    turns: Option<Turns>,
    model: &VisionModel,
    layer: usize,
) -> Result<Tensor, ModelError> {
    let prefix = format!("{PREFIX}.encoder.layers.{layer}");
    let (width, eps) = (model.hidden, model.norm_eps);
    p.enter("attn");
    let [gain, offset] = p.layer_norm(Part::Vision, &format!("{prefix}.layer_norm1"), width);
    let normed = p.graph.one(LayerNorm { eps }, &[x, gain, offset])?;
    let mut qkv = Vec::with_capacity(3);
    for name in ["q_proj", "k_proj", "v_proj"] {
        let name = format!("{prefix}.self_attn.{name}");
        qkv.push(p.linear(Part::Vision, &name, width, width, model.qkv_bias).apply(p, normed)?);
    }
    if let Some(turns) = turns {
        for x in &mut qkv[..2] {
            *x = turns.turn(p, *x, model)?;
        }
    }
    let scale = (model.head_dim() as f64).sqrt().recip();
    let (heads, kv_heads) = (model.heads, model.heads);
    let attention = Attention { heads, kv_heads, causal: false, segments: false, scale };
    let mixed = p.graph.one(attention, &qkv)?;
    let name = format!("{prefix}.self_attn.out_proj");
    let update = p.linear(Part::Vision, &name, width, width, model.qkv_bias).apply(p, mixed)?;
    let update = scaled(p, update, model, &format!("{prefix}.layer_scale1"))?;
    let x = p.graph.add(x, update)?;
    p.leave();
    p.enter("mlp");
    let [gain, offset] = p.layer_norm(Part::Vision, &format!("{prefix}.layer_norm2"), width);
    let normed = p.graph.one(LayerNorm { eps }, &[x, gain, offset])?;
    let fc1 = p.linear(Part::Vision, &format!("{prefix}.mlp.fc1"), model.mlp, width, true);
    let fc2 = p.linear(Part::Vision, &format!("{prefix}.mlp.fc2"), width, model.mlp, true);
    let hidden = fc1.apply(p, normed)?;
    let hidden = p.graph.one(Unary(UnaryKind::Act(activation(model.activation))), &[hidden])?;
    let update = fc2.apply(p, hidden)?;
    let update = scaled(p, update, model, &format!("{prefix}.layer_scale2"))?;
    let x = p.graph.add(x, update)?;
    p.leave();
    Ok(x)
}

/// What a branch adds `[B, S, D]`, each channel by its learned factor where the encoder has such.
fn scaled(p: &mut Params, update: Tensor, model: &VisionModel, prefix: &str) -> Result<Tensor, ModelError> {
    if !model.layer_scale {
        return Ok(update);
    }
    let factor = p.param(Part::Vision, &format!("{prefix}.lambda1"), &[model.hidden], Init::ONES);
    let shape = p.graph.shape(update).to_vec();
    let factor = p.graph.broadcast(factor, &shape, &[2])?;
    Ok(p.graph.mul(update, factor)?)
}

/// The op's activation for a recipe's.
pub(crate) fn activation(act: MlpActivation) -> Activation {
    match act {
        MlpActivation::GeluTanh => Activation::GeluTanh,
        MlpActivation::GeluErf => Activation::GeluErf,
        MlpActivation::QuickGelu => Activation::QuickGelu,
    }
}
