//! The weight W of every edge.

use crossloom_graph::Tensor;
use crossloom_ir::op::{AgfGate as AgfOp, Constant, PoolAttention};
use crossloom_recipe::{
    AgfGate, Gate, GateAttention, GateGranularity, GateNorm, GateShare, NamedInjection, Part, PointAddress,
    Tap,
};

use crate::language::Sublayer;
use crate::params::Params;
use crate::{Init, ModelError};

/// What a gate pools over.
#[derive(Clone, Copy)]
pub(super) struct PoolMasks {
    /// `[B, T]`: 1 at positions of the hidden state that it pools.
    pub(super) hidden: Option<Tensor>,
    /// `[B, N]`: 1 for visual tokens that it pools, where these are not all.
    pub(super) visual: Option<Tensor>,
}

/// The weights of the edges from `taps` to `point`: `[B, K]`, or `[B, K, D]` for a gate per channel.
pub(super) fn weights(
    p: &mut Params,
    injection: NamedInjection<'_>,
    h_btd: Tensor,
    v_kbnd: Tensor,
    masks: PoolMasks,
    (point, taps): (PointAddress, &[Tap]),
    norm_eps: f64,
) -> Result<Tensor, ModelError> {
    let batch = p.graph.shape(h_btd)[0];
    let (shape, gates) = (vec![batch, taps.len()], format!("{}.gate", injection.prefix()));
    match &injection.of.gate {
        Gate::None {} => Ok(p.graph.one(Constant { value: 1.0, shape }, &[])?),
        Gate::Constant { value } => Ok(p.graph.one(Constant { value: *value, shape }, &[])?),
        Gate::Static { init } => {
            let mut parts = Vec::with_capacity(taps.len());
            for tap in taps {
                let name = format!("{gates}.{}.{tap}.weight", point.name());
                parts.push(p.param(Part::Gate, &name, &[1], Init::Constant(*init)));
            }
            let row = p.graph.concat(&parts, 0)?;
            Ok(p.graph.broadcast(row, &shape, &[1])?)
        }
        Gate::Agf(agf) if agf.share == GateShare::Edge => {
            let mut parts = Vec::with_capacity(taps.len());
            for (index, tap) in taps.iter().enumerate() {
                let features = p.graph.slice(v_kbnd, 0, index, 1)?;
                let prefix = format!("{gates}.{}.{tap}", point.name());
                parts.push(module(p, agf, (h_btd, norm_eps), features, masks, &prefix)?);
            }
            Ok(p.graph.concat(&parts, 1)?)
        }
        Gate::Agf(agf) => {
            let prefix = match agf.share {
                GateShare::Global => gates,
                GateShare::Point | GateShare::Edge => format!("{gates}.{}", point.name()),
            };
            module(p, agf, (h_btd, norm_eps), v_kbnd, masks, &prefix)
        }
    }
}

/// One AGF module: two queries, their attention, the controller.
fn module(
    p: &mut Params,
    agf: &AgfGate,
    (h_btd, norm_eps): (Tensor, f64),
    v_kbnd: Tensor,
    masks: PoolMasks,
    prefix: &str,
) -> Result<Tensor, ModelError> {
    let width = p.graph.shape(h_btd)[2];
    let pooled_btd = match agf.norm {
        GateNorm::None => h_btd,
        GateNorm::Rms => {
            let norm = Sublayer { part: Part::Gate, width, eps: norm_eps };
            norm.rms_norm(p, h_btd, &format!("{prefix}.norm_hidden.weight"))?
        }
    };
    let channel = agf.granularity == GateGranularity::Channel;
    // A query of unit variance per channel gives the pooling something to tell apart from the start.
    let query = Init::Uniform { std: 1.0 };
    let unpooled = || ModelError::Incomplete("a gate has nothing to pool over".to_owned());
    let mut operands = vec![pooled_btd, v_kbnd, masks.hidden.ok_or_else(unpooled)?];
    operands.extend(masks.visual);
    operands.push(p.param(Part::Gate, &format!("{prefix}.query_vision"), &[width], query));
    operands.push(p.param(Part::Gate, &format!("{prefix}.query_hidden"), &[width], query));
    let (attention, modules): (_, &[&str]) = match agf.attention {
        GateAttention::None => (PoolAttention::None, &[]),
        GateAttention::Shared => (PoolAttention::Shared, &["attn"]),
        GateAttention::Separate => (PoolAttention::Separate, &["attn_vision", "attn_hidden"]),
    };
    for module in modules {
        let mut linear = |name: &str, bias: bool| {
            let layer = p.linear(Part::Gate, &format!("{prefix}.{module}.{name}"), width, width, bias);
            operands.push(layer.weight);
            operands.extend(layer.bias);
        };
        linear("q_proj", true);
        // Softmax over the keys does not change with a key bias, so there is none.
        linear("k_proj", false);
        linear("v_proj", true);
        linear("o_proj", true);
    }
    let outputs = if channel { width } else { 1 };
    let name = format!("{prefix}.controller");
    operands.push(p.param(
        Part::Gate,
        &format!("{name}.weight"),
        &[outputs, 2 * width],
        Init::linear(2 * width),
    ));
    operands.push(p.param(Part::Gate, &format!("{name}.bias"), &[outputs], Init::Constant(agf.bias_init)));
    Ok(p.graph
        .one(AgfOp { heads: agf.heads, attention, channel, masked: masks.visual.is_some() }, &operands)?)
}
