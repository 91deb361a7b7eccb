//! Visual tokens that read windows of patches: the spatial vision aggregator of Cambrian-1, in front of the language model and
//! behind its layers. Inside a layer, weights have the names of the published code's.

use crossloom_graph::Tensor;
use crossloom_ir::op::{Activation, Attention, Unary, UnaryKind};
use crossloom_recipe::{Model, Part, TapNorm};

use super::layer_norm;
use crate::params::Params;
use crate::projector::prepared;
use crate::{Init, ModelError};

/// The epsilon of its norms, PyTorch's own.
const NORM_EPS: f64 = 1e-5;

/// A state `[B, patches, W]`, each patch brought to a width by two layers and a norm under a prefix, as windows of visual tokens,
/// `[B, N, m² H]`: the rows of the m by m patches that a token stands for are side by side.
pub(crate) fn windows(
    p: &mut Params,
    prefix: &str,
    hidden: usize,
    state: Tensor,
    model: &Model,
) -> Result<Tensor, ModelError> {
    let part = Part::Adapter;
    let names = ["linear_1", "linear_2"].map(|name| format!("{prefix}.{name}"));
    let x = two_layers(p, (part, [&names[0], &names[1]]), [hidden; 2], true, state)?;
    let x = layer_norm(p, (part, &format!("{prefix}.norm")), NORM_EPS, x)?;
    prepared(p, part, "", TapNorm::None, x, model)
}

/// Layers that read windows of one width.
#[derive(Clone, Copy)]
pub(crate) struct WindowReader {
    /// The part that their weights belong to.
    pub(crate) part: Part,
    /// Width of a patch in a window, and of the attention.
    pub(crate) hidden: usize,
    /// Heads.
    pub(crate) heads: usize,
}

impl WindowReader {
    /// Visual tokens `[B, N, H]` of so many layers, which begin as one learned token.
    pub(crate) fn learned(
        self,
        p: &mut Params,
        prefix: &str,
        depth: usize,
        taps: &[Tensor],
    ) -> Result<Tensor, ModelError> {
        let first = taps.first().ok_or_else(|| ModelError::Incomplete(format!("`{prefix}` reads no tap")))?;
        let [batch, count] = [0, 1].map(|axis| p.graph.shape(*first)[axis]);
        let init = Init::Uniform { std: (self.hidden as f64).sqrt().recip() };
        let query = p.param(self.part, &format!("{prefix}.query"), &[self.hidden], init);
        let mut tokens = p.graph.broadcast(query, &[batch, count, self.hidden], &[2])?;
        for layer in 0..depth {
            tokens = self.layer(p, &format!("{prefix}.layers.{layer}"), tokens, taps)?;
        }
        Ok(tokens)
    }

    /// Visual tokens `[B, N, D]` with what they read of their [`windows`] of all taps.
    pub(crate) fn layer(
        self,
        p: &mut Params,
        prefix: &str,
        tokens: Tensor,
        taps: &[Tensor],
    ) -> Result<Tensor, ModelError> {
        let hidden = self.hidden;
        let &[batch, count, width] = p.graph.shape(tokens) else {
            return Err(ModelError::Incomplete(format!("the visual tokens of `{prefix}` have no rows")));
        };
        let mut windows = Vec::with_capacity(taps.len());
        for &tap in taps {
            let rows = p.graph.ty(tap).last() / hidden;
            windows.push(p.graph.reshape(tap, &[batch * count, rows, hidden])?);
        }
        let context = self.context(p, prefix, batch, &windows)?;
        let context = p.graph.broadcast(context, &[batch, count, hidden], &[0, 2])?;
        let x = p.graph.concat(&[tokens, context], 2)?;
        let x = linear(p, (self.part, &format!("{prefix}.proj_in")), hidden, false, x)?;
        let x = p.graph.reshape(x, &[batch * count, 1, hidden])?;
        let read = self.attend(p, prefix, x, &windows)?;
        let x = p.graph.add(x, read)?;
        let x = layer_norm(p, (self.part, &format!("{prefix}.norm")), NORM_EPS, x)?;
        let names = ["linear_1", "linear_2"].map(|name| format!("{prefix}.proj_out.{name}"));
        let update = two_layers(p, (self.part, [&names[0], &names[1]]), [hidden, width], false, x)?;
        let update = p.graph.reshape(update, &[batch, count, width])?;
        Ok(p.graph.add(tokens, update)?)
    }

    /// The mean of the first tap's patches through a linear layer, `[B, H]`.
    fn context(
        self,
        p: &mut Params,
        prefix: &str,
        batch: usize,
        windows: &[Tensor],
    ) -> Result<Tensor, ModelError> {
        let first =
            windows.first().ok_or_else(|| ModelError::Incomplete(format!("`{prefix}` reads no tap")))?;
        let rows = p.graph.ty(*first).elements() / (batch * self.hidden).max(1);
        let patches = p.graph.reshape(*first, &[batch, rows, self.hidden])?;
        let sum = p.graph.reduce_sum(patches, &[1])?;
        let mean = p.graph.affine(sum, (rows as f64).recip(), 0.0)?;
        linear(p, (self.part, &format!("{prefix}.proj_context")), self.hidden, false, mean)
    }

    /// One query per window, `[B N, 1, H]`, over the windows `[B N, m², H]` of all taps, whose rows have learned positions.
    fn attend(
        self,
        p: &mut Params,
        prefix: &str,
        x: Tensor,
        windows: &[Tensor],
    ) -> Result<Tensor, ModelError> {
        let projected = |p: &mut Params, name: &str, x: Tensor| {
            let name = format!("{prefix}.cross_attn.{name}");
            let x = layer_norm(p, (self.part, &format!("{name}.0")), NORM_EPS, x)?;
            linear(p, (self.part, &format!("{name}.1")), self.hidden, false, x)
        };
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for (i, &window) in windows.iter().enumerate() {
            let shape = p.graph.shape(window).to_vec();
            let mut window = window;
            if shape[1] > 1 {
                let name = format!("{prefix}.pos_embed_{i}");
                let positions = p.param(self.part, &name, &shape[1..], Init::Uniform { std: 1.0 });
                let positions = p.graph.broadcast(positions, &shape, &[1, 2])?;
                window = p.graph.add(window, positions)?;
            }
            keys.push(projected(p, &format!("k_proj_{i}"), window)?);
            values.push(projected(p, &format!("v_proj_{i}"), window)?);
        }
        let query = projected(p, "q_proj", x)?;
        let (keys, values) = (p.graph.concat(&keys, 1)?, p.graph.concat(&values, 1)?);
        let scale = ((self.hidden / self.heads) as f64).sqrt().recip();
        let op = Attention { heads: self.heads, kv_heads: self.heads, causal: false, segments: false, scale };
        let read = p.graph.one(op, &[query, keys, values])?;
        linear(p, (self.part, &format!("{prefix}.cross_attn.o_proj")), self.hidden, false, read)
    }
}

fn linear(
    p: &mut Params,
    (part, name): (Part, &str),
    out: usize,
    bias: bool,
    x: Tensor,
) -> Result<Tensor, ModelError> {
    let width = p.graph.ty(x).last();
    p.linear(part, name, out, width, bias).apply(p, x)
}

/// Two linear layers of those widths with a GELU between them.
fn two_layers(
    p: &mut Params,
    (part, names): (Part, [&str; 2]),
    widths: [usize; 2],
    bias: bool,
    x: Tensor,
) -> Result<Tensor, ModelError> {
    let x = linear(p, (part, names[0]), widths[0], bias, x)?;
    let x = p.graph.one(Unary(UnaryKind::Act(Activation::GeluErf)), &[x])?;
    linear(p, (part, names[1]), widths[1], bias, x)
}
