//! What an injection is, in a few words, for the pictures.

use serde::Serialize;

use crate::schema::{Adapter, Fusion, Gate, GateNorm, Injection, Stream, TapNorm, TapSource, Wiring};

/// The name that a choice has in a recipe.
fn word(choice: &impl Serialize) -> String {
    match serde_json::to_value(choice) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

impl Injection {
    /// `dense`, `diagonal`, `broadcast` or `pairs`.
    pub(super) fn wiring_words(&self) -> String {
        match &self.wiring {
            Wiring::Pairs(_) => "pairs".to_owned(),
            named => word(named),
        }
    }

    /// For example `amp, rank 8, alpha 8, parallel`.
    pub(super) fn adapter_words(&self) -> String {
        let adapter = match &self.adapter {
            Adapter::Shared { .. } => "shared".to_owned(),
            Adapter::PerTap { .. } => "per_tap".to_owned(),
            Adapter::PerEdge { corners, .. } if corners.is_empty() => "per_edge".to_owned(),
            Adapter::PerEdge { corners, .. } => format!("per_edge, {} from corners", corners.len()),
            Adapter::Linear { .. } => "linear".to_owned(),
            Adapter::Windows { hidden } => format!("windows, {hidden} wide"),
            Adapter::Amp { rank, alpha, attach, .. } => {
                format!("amp, rank {rank}, alpha {alpha}, {}", word(attach))
            }
        };
        match self.adapter.tap_norm() {
            TapNorm::None => adapter,
            TapNorm::Layer => format!("{adapter}, tap norm"),
            TapNorm::Merged => format!("{adapter}, norm of merged taps"),
        }
    }

    /// For example `agf, shared attention, 4 heads, scalar, per point, pooled over image`.
    pub(super) fn gate_words(&self) -> String {
        match &self.gate {
            Gate::None {} => "none".to_owned(),
            Gate::Constant { value } => format!("constant {value}"),
            Gate::Static { init } => format!("static, from {init}"),
            Gate::Agf(agf) => {
                let attention = match word(&agf.attention).as_str() {
                    "none" => "no projections".to_owned(),
                    kind => format!("{kind} attention, {} heads", agf.heads),
                };
                let (granularity, share, pool) = (word(&agf.granularity), word(&agf.share), word(&agf.pool));
                let normed = match agf.norm {
                    GateNorm::None => "",
                    GateNorm::Rms => " behind a norm",
                };
                format!("agf, {attention}, {granularity}, one per {share}, pooled over {pool}{normed}")
            }
        }
    }

    /// For example `gated_add, parallel, at visual positions, in prefill`.
    pub(super) fn fusion_words(&self, stream: &Stream) -> String {
        let how = match &self.fusion {
            Fusion::Add { order } => format!("add, {}", word(order)),
            Fusion::GatedAdd { order } => format!("gated_add, {}", word(order)),
            Fusion::Convex { order } => format!("convex, {}", word(order)),
            Fusion::Windows(of) => format!("windows, {} heads", of.heads),
            Fusion::CrossAttention(of) => {
                let behind = if of.mlp > 0 { " and a feed-forward layer" } else { "" };
                format!("cross_attention, {} heads{behind}", of.heads)
            }
        };
        let (mask, phase) = (word(&self.mask), word(&self.phase));
        let stream = match stream {
            Stream::Sequence => String::new(),
            Stream::None => ", no visual tokens in the sequence".to_owned(),
            Stream::Between(of) => format!(", visual tokens from {} to {}", of.from, of.to),
        };
        format!("{how}, at {mask} positions, in {phase}{stream}")
    }
}

/// For example `mean of block.1, block.2`.
pub(super) fn source_words(source: &TapSource) -> String {
    let listed = |names: Vec<String>| names.join(", ");
    match source {
        TapSource::Mean { of } => format!("mean of {}", listed(of.iter().map(ToString::to_string).collect())),
        TapSource::Channels { of } => {
            format!("channels of {}", listed(of.iter().map(ToString::to_string).collect()))
        }
        TapSource::MmFuser(fuser) => {
            let of = listed(fuser.of.iter().map(ToString::to_string).collect());
            format!("mmfuser, {} reads {of}, {} heads, {} points", fuser.query, fuser.heads, fuser.points)
        }
        TapSource::Stacks { of, side, sampling } => {
            format!("{} stacks of {of}, {side} by {side} tiles, {}", side * side, word(sampling))
        }
    }
}
