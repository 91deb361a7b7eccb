//! A Llama-style decoder: RMSNorm, rotary positions, grouped-query attention, SwiGLU; with biases as in Qwen2, or norms on
//! queries and keys as in Qwen3, or multipliers as in Granite.

use crossloom_graph::Tensor;
use crossloom_ir::op::{Activation, Embedding, GatherRows, RmsNorm, Rope, Unary, UnaryKind};
use crossloom_recipe::{LanguageModel, Part, PointAddress, Recipe, Stretch};

use super::memory::Memory;
use crate::injection::{Injector, PointGates, inject};
use crate::params::Params;
use crate::{Init, ModelError};

const PREFIX: &str = "language_model";

/// Per-position inputs that every layer reads.
#[derive(Clone, Copy)]
pub(crate) struct Sequence {
    /// `[B, T]` rotary positions, or `[B, T, 3]`.
    pub(crate) positions: Tensor,
    /// What attention runs over.
    pub(crate) memory: Memory,
    /// Layers that have visual tokens, where only some have them, and what attention runs over in the others.
    pub(crate) elsewhere: Option<(Stretch, Memory)>,
}

impl Sequence {
    /// What attention runs over in a layer.
    fn memory_in(&self, layer: usize) -> Memory {
        match self.elsewhere {
            Some((stretch, memory)) if !stretch.holds(layer) => memory,
            _ => self.memory,
        }
    }
}

fn embedding_table(p: &mut Params, model: &LanguageModel, vocab: usize) -> Tensor {
    let name = format!("{PREFIX}.model.embed_tokens.weight");
    p.param(Part::Language, &name, &[vocab, model.hidden], Init::Uniform { std: 0.02 })
}

/// `[B, T]` ids to `[B, T, D]`.
pub(crate) fn embed_tokens(
    p: &mut Params,
    ids: Tensor,
    model: &LanguageModel,
    vocab: usize,
) -> Result<Tensor, ModelError> {
    let table = embedding_table(p, model, vocab);
    Ok(p.graph.one(Embedding, &[table, ids])?)
}

/// One decoder layer over `[B, T, D]`, with what is injected inside it.
pub(crate) fn decoder_layer(
    p: &mut Params,
    h: Tensor,
    sequence: Sequence,
    recipe: &Recipe,
    layer: usize,
    injectors: &[Injector<'_>],
    gates: &mut Vec<PointGates>,
) -> Result<Tensor, ModelError> {
    let model = &recipe.model.language;
    let (prefix, scope) = (format!("{PREFIX}.model.layers.{layer}"), format!("language.layer.{layer}"));
    p.enter(&format!("{scope}.attn"));
    let mut read = rms_norm(p, h, model, &format!("{prefix}.input_layernorm.weight"))?;
    read = inject(injectors, p, read, PointAddress::Attention(layer), gates)?;
    let update = attention(p, read, sequence, model, layer, &prefix)?;
    let mut h = p.graph.add(h, update)?;
    p.leave();
    h = inject(injectors, p, h, PointAddress::Inside(layer), gates)?;
    p.enter(&format!("{scope}.mlp"));
    let normed = rms_norm(p, h, model, &format!("{prefix}.post_attention_layernorm.weight"))?;
    let update = swiglu(p, Part::Language, normed, model.mlp, &format!("{prefix}.mlp"))?;
    let update = scaled(p, update, model.residual_multiplier)?;
    let from = if recipe.topology.normed_residual(layer) { normed } else { h };
    let h = p.graph.add(from, update)?;
    p.leave();
    Ok(h)
}

/// A tensor times a number, where there is one.
pub(crate) fn scaled(p: &mut Params, x: Tensor, by: Option<f64>) -> Result<Tensor, ModelError> {
    match by {
        Some(factor) => Ok(p.graph.affine(x, factor, 0.0)?),
        None => Ok(x),
    }
}

/// What the norms of one residual stream have in common.
pub(crate) struct Sublayer {
    pub(crate) part: Part,
    pub(crate) width: usize,
    pub(crate) eps: f64,
}

impl Sublayer {
    /// An RMSNorm with the gain of that name.
    pub(crate) fn rms_norm(&self, p: &mut Params, h: Tensor, name: &str) -> Result<Tensor, ModelError> {
        let gain = p.param(self.part, name, &[self.width], Init::ONES);
        Ok(p.graph.one(RmsNorm { eps: self.eps }, &[h, gain])?)
    }
}

fn rms_norm(p: &mut Params, h: Tensor, model: &LanguageModel, name: &str) -> Result<Tensor, ModelError> {
    Sublayer { part: Part::Language, width: model.hidden, eps: model.norm_eps }.rms_norm(p, h, name)
}

/// Every head of `x [B, T, heads hd]` by itself through a norm with one gain `[hd]`.
pub(crate) fn head_norm(
    p: &mut Params,
    part: Part,
    x: Tensor,
    head_dim: usize,
    eps: f64,
    name: &str,
) -> Result<Tensor, ModelError> {
    let shape = p.graph.shape(x).to_vec();
    let heads = p.graph.reshape(x, &[shape[0], shape[1], shape[2] / head_dim, head_dim])?;
    let normed = Sublayer { part, width: head_dim, eps }.rms_norm(p, heads, name)?;
    Ok(p.graph.reshape(normed, &shape)?)
}

/// `down(silu(gate x) · up x)` with an inner width, its weights under a prefix.
pub(crate) fn swiglu(
    p: &mut Params,
    part: Part,
    x: Tensor,
    inner: usize,
    prefix: &str,
) -> Result<Tensor, ModelError> {
    let width = p.graph.ty(x).last();
    let gate = p.linear(part, &format!("{prefix}.gate_proj"), inner, width, false);
    let up = p.linear(part, &format!("{prefix}.up_proj"), inner, width, false);
    let down = p.linear(part, &format!("{prefix}.down_proj"), width, inner, false);
    let gate = gate.apply(p, x)?;
    let gate = p.graph.one(Unary(UnaryKind::Act(Activation::Silu)), &[gate])?;
    let up = up.apply(p, x)?;
    let hidden = p.graph.mul(gate, up)?;
    down.apply(p, hidden)
}

/// What the attention of a layer adds, over what it reads.
fn attention(
    p: &mut Params,
    read: Tensor,
    sequence: Sequence,
    model: &LanguageModel,
    layer: usize,
    prefix: &str,
) -> Result<Tensor, ModelError> {
    let (heads, kv_heads, head_dim) = (model.heads, model.kv_heads, model.head_dim);
    let project = |p: &mut Params, name: &str, width: usize| -> Result<Tensor, ModelError> {
        let name = format!("{prefix}.self_attn.{name}");
        p.linear(Part::Language, &name, width, model.hidden, model.qkv_bias()).apply(p, read)
    };
    let mut q = project(p, "q_proj", heads * head_dim)?;
    let mut k = project(p, "k_proj", kv_heads * head_dim)?;
    let v = project(p, "v_proj", kv_heads * head_dim)?;
    if model.qk_norm() {
        let of = |name: &str| format!("{prefix}.self_attn.{name}.weight");
        q = head_norm(p, Part::Language, q, head_dim, model.norm_eps, &of("q_norm"))?;
        k = head_norm(p, Part::Language, k, head_dim, model.norm_eps, &of("k_norm"))?;
    }
    let rope = Rope { head_dim, theta: model.rope_theta, inverse: false, sections: model.rope_sections };
    let q = p.graph.one(rope, &[q, sequence.positions])?;
    let k = p.graph.one(rope, &[k, sequence.positions])?;
    let mixed = sequence.memory_in(layer).attend(p, [q, k, v], model, layer)?;
    let name = format!("{prefix}.self_attn.o_proj");
    let update = p.linear(Part::Language, &name, model.hidden, heads * head_dim, false).apply(p, mixed)?;
    scaled(p, update, model.residual_multiplier)
}

/// Logits `[B*M, V]` of the positions in `target_index [B, M]`, or of all. Only those rows pass the last norm and the head.
pub(crate) fn predict(
    p: &mut Params,
    h: Tensor,
    target_index: Option<Tensor>,
    model: &LanguageModel,
    vocab: usize,
) -> Result<Tensor, ModelError> {
    let rows = match target_index {
        Some(index) => p.graph.one(GatherRows, &[h, index])?,
        None => h,
    };
    let normed = rms_norm(p, rows, model, &format!("{PREFIX}.model.norm.weight"))?;
    let head = if model.tie_embeddings {
        embedding_table(p, model, vocab)
    } else {
        p.param(
            Part::Language,
            &format!("{PREFIX}.lm_head.weight"),
            &[vocab, model.hidden],
            Init::linear(model.hidden),
        )
    };
    let logits = p.graph.linear(normed, head, None)?;
    let logits = scaled(p, logits, model.logits_scaling.map(f64::recip))?;
    let shape = p.graph.shape(logits);
    let rows = shape[0] * shape[1];
    Ok(p.graph.reshape(logits, &[rows, vocab])?)
}
