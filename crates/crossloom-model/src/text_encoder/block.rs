//! A block: attention among a text's pieces, and a feed-forward layer, each with a norm behind what it adds.

use crossloom_graph::Tensor;
use crossloom_ir::op::{Attention, Unary, UnaryKind};
use crossloom_recipe::{Part, TextEncoder};

use super::{PREFIX, norm};
use crate::ModelError;
use crate::params::Params;
use crate::vision::activation;

/// `[B, T, D]` to the next state; a piece sees those of segment 0, which padding is not of.
pub(super) fn block(
    p: &mut Params,
    x: Tensor,
    segments: Tensor,
    encoder: &TextEncoder,
    layer: usize,
) -> Result<Tensor, ModelError> {
    let (prefix, width) = (format!("{PREFIX}.encoder.layer.{layer}"), encoder.hidden);
    p.enter("attn");
    let mut operands = Vec::with_capacity(4);
    for name in ["query", "key", "value"] {
        let name = format!("{prefix}.attention.self.{name}");
        operands.push(p.linear(Part::Language, &name, width, width, true).apply(p, x)?);
    }
    operands.push(segments);
    let scale = ((width / encoder.heads.max(1)) as f64).sqrt().recip();
    let (heads, kv_heads) = (encoder.heads, encoder.heads);
    let mixed =
        p.graph.push(Attention { heads, kv_heads, causal: false, segments: true, scale }, &operands)?[0];
    let name = format!("{prefix}.attention.output.dense");
    let update = p.linear(Part::Language, &name, width, width, true).apply(p, mixed)?;
    let x = p.graph.add(x, update)?;
    let x = norm(p, x, &format!("{prefix}.attention.output.LayerNorm"), encoder)?;
    p.leave();
    p.enter("mlp");
    let inner = p.linear(Part::Language, &format!("{prefix}.intermediate.dense"), encoder.mlp, width, true);
    let outer = p.linear(Part::Language, &format!("{prefix}.output.dense"), width, encoder.mlp, true);
    let hidden = inner.apply(p, x)?;
    let hidden = p.graph.one(Unary(UnaryKind::Act(activation(encoder.activation))), &[hidden])?;
    let update = outer.apply(p, hidden)?;
    let x = p.graph.add(x, update)?;
    let x = norm(p, x, &format!("{prefix}.output.LayerNorm"), encoder)?;
    p.leave();
    Ok(x)
}
