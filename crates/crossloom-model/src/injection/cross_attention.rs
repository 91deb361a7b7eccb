//! Layers that read the picture from every position, beside the decoder's own.

use crossloom_graph::Tensor;
use crossloom_ir::op::{Attention, Embedding, ScatterMode, ScatterRows, UnaryKind};
use crossloom_ir::{Role, TensorType};
use crossloom_recipe::{CrossAttention, Part, PointAddress};

use crate::language::{Sublayer, head_norm, swiglu};
use crate::params::Params;
use crate::{Init, ModelError, caches};

/// Where keys and values of the picture are between calls.
#[derive(Clone, Copy)]
pub(crate) enum PictureCache {
    /// Nowhere: the graph is the only call.
    None,
    /// What this call computes is kept: `[B]` the sequence of the cache, -1 where nothing is to be written.
    Written {
        /// Sequences there is room for.
        slots: usize,
        /// `[B]`.
        slot: Tensor,
    },
    /// An earlier call has written them: `[B]` the sequence of each row.
    Kept {
        /// Sequences there is room for.
        slots: usize,
        /// `[B]`.
        slot: Tensor,
    },
}

/// A layer at a point.
pub(crate) struct CrossLayer<'r> {
    pub(crate) of: &'r CrossAttention,
    /// What the names of its injection's weights begin with.
    pub(crate) prefix: String,
    pub(crate) point: PointAddress,
    /// Rows that are keys and values of a picture.
    pub(crate) rows: usize,
    /// Epsilon of its norms.
    pub(crate) norm_eps: f64,
    pub(crate) cache: PictureCache,
}

impl CrossLayer<'_> {
    fn name(&self, part: &str) -> String {
        format!("{}.fusion.{}.{part}", self.prefix, self.point.name())
    }

    /// `h [B, T, D]` after the layer; `features [B, rows, D']` are those of the pictures, but where they were kept. `mask [B, T]` is
    /// 1 where positions are changed; without one all are.
    pub(crate) fn apply(
        &self,
        p: &mut Params,
        h: Tensor,
        features: Option<Tensor>,
        mask: Option<Tensor>,
    ) -> Result<Tensor, ModelError> {
        let width = p.graph.ty(h).last();
        let eps = self.norm_eps;
        let [k, v] = self.keys_and_values(p, features)?;
        let normed = self.normed(p, h, "input_layernorm.weight")?;
        let CrossAttention { heads, kv_heads, head_dim, .. } = *self.of;
        let name = self.name("cross_attn.q_proj");
        let mut q = p.linear(Part::Fusion, &name, heads * head_dim, width, false).apply(p, normed)?;
        if self.of.qk_norm {
            q = head_norm(p, Part::Fusion, q, head_dim, eps, &self.name("cross_attn.q_norm.weight"))?;
        }
        let scale = (head_dim as f64).sqrt().recip();
        let op = Attention { heads, kv_heads, causal: false, segments: false, scale };
        let read = p.graph.one(op, &[q, k, v])?;
        let name = self.name("cross_attn.o_proj");
        let update = p.linear(Part::Fusion, &name, width, heads * head_dim, false).apply(p, read)?;
        let mut h = self.gated(p, h, update, "attn_gate", mask)?;
        if self.of.mlp > 0 {
            let normed = self.normed(p, h, "post_attention_layernorm.weight")?;
            let update = swiglu(p, Part::Fusion, normed, self.of.mlp, &self.name("mlp"))?;
            h = self.gated(p, h, update, "mlp_gate", mask)?;
        }
        Ok(h)
    }

    /// What a half of the layer reads.
    fn normed(&self, p: &mut Params, h: Tensor, gain: &str) -> Result<Tensor, ModelError> {
        if !self.of.norm {
            return Ok(h);
        }
        let norm = Sublayer { part: Part::Fusion, width: p.graph.ty(h).last(), eps: self.norm_eps };
        norm.rms_norm(p, h, &self.name(gain))
    }

    /// `h + tanh(gate) · update`, at the positions of the mask.
    fn gated(
        &self,
        p: &mut Params,
        h: Tensor,
        update: Tensor,
        gate: &str,
        mask: Option<Tensor>,
    ) -> Result<Tensor, ModelError> {
        let gate = p.param(Part::Gate, &self.name(gate), &[1], Init::Constant(self.of.gate_init));
        let gate = p.graph.unary(UnaryKind::Tanh, gate)?;
        let gate = p.graph.reshape(gate, &[])?;
        let shape = p.graph.shape(h).to_vec();
        let gate = p.graph.broadcast(gate, &shape, &[])?;
        let mut update = p.graph.mul(update, gate)?;
        if let Some(mask) = mask {
            let mask = p.graph.broadcast(mask, &shape, &[0, 1])?;
            update = p.graph.mul(update, mask)?;
        }
        Ok(p.graph.add(h, update)?)
    }

    /// Keys and values `[B, rows, kv_heads hd]` of the pictures.
    fn keys_and_values(&self, p: &mut Params, features: Option<Tensor>) -> Result<[Tensor; 2], ModelError> {
        let CrossAttention { kv_heads, head_dim, qk_norm, .. } = *self.of;
        let width = kv_heads * head_dim;
        match (self.cache, features) {
            (PictureCache::Kept { slots, slot }, _) => {
                let kept = |p: &mut Params, name: String| self.kept(p, &name, slots, slot, width);
                Ok([kept(p, caches::picture_key(self.point))?, kept(p, caches::picture_value(self.point))?])
            }
            (cache, Some(features)) => {
                let fan_in = p.graph.ty(features).last();
                let [mut k, v] = ["cross_attn.k_proj", "cross_attn.v_proj"].map(|name| {
                    p.linear(Part::Fusion, &self.name(name), width, fan_in, false).apply(p, features)
                });
                if qk_norm {
                    let name = self.name("cross_attn.k_norm.weight");
                    k = k.and_then(|k| head_norm(p, Part::Fusion, k, head_dim, self.norm_eps, &name));
                }
                let [k, v] = [k?, v?];
                if let PictureCache::Written { slots, slot } = cache {
                    self.write(p, &caches::picture_key(self.point), slots, slot, k)?;
                    self.write(p, &caches::picture_value(self.point), slots, slot, v)?;
                }
                Ok([k, v])
            }
            (_, None) => Err(ModelError::Incomplete(format!("nothing is seen at `{}`", self.point))),
        }
    }

    /// The state of that name, `[S, rows * width]`.
    fn state(&self, p: &mut Params, name: &str, slots: usize, width: usize) -> Tensor {
        p.graph.param(name, Role::State, TensorType::f32([slots, self.rows * width]))
    }

    fn kept(
        &self,
        p: &mut Params,
        name: &str,
        slots: usize,
        slot: Tensor,
        width: usize,
    ) -> Result<Tensor, ModelError> {
        let held = self.state(p, name, slots, width);
        let rows = p.graph.one(Embedding, &[held, slot])?;
        let batch = p.graph.shape(rows)[0];
        Ok(p.graph.reshape(rows, &[batch, self.rows, width])?)
    }

    fn write(
        &self,
        p: &mut Params,
        name: &str,
        slots: usize,
        slot: Tensor,
        rows: Tensor,
    ) -> Result<(), ModelError> {
        let [batch, width] = [p.graph.shape(rows)[0], p.graph.ty(rows).last()];
        let held = self.state(p, name, slots, width);
        let before = p.graph.reshape(held, &[1, slots, self.rows * width])?;
        let slot = p.graph.reshape(slot, &[1, batch])?;
        let rows = p.graph.reshape(rows, &[1, batch, self.rows * width])?;
        let after = p.graph.one(ScatterRows { mode: ScatterMode::Set }, &[before, slot, rows])?;
        let after = p.graph.reshape(after, &[slots, self.rows * width])?;
        p.graph.update(held, after);
        Ok(())
    }
}
