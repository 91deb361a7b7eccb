//! An injection: taps → adapter → points → wiring → fusion and gate → mask → phase.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::address::{PointAddress, PointSet, TapSet};
use super::{Adapter, Fusion, Gate, GatePool, Mask, Phase, Tap, Wiring};

/// Taps that are fused into the decoder at points, all in one way.
///
/// At a point with state `h`, the injected features of tap k are `V̂_k = adapter(tap_k)`; a gate gives each edge a
/// weight `W`; the fusion writes them into `h` at the positions of the mask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Injection {
    /// Vision states or sources that are injected, in order. Empty: nothing is injected. A list of taps (`embed`,
    /// `block.7`, `block.last`, `post_norm`, names of `sources`) or a set of states (`every`, `range`, `count`).
    #[schemars(with = "TapSet", extend("default" = []))]
    pub taps: Vec<Tap>,
    /// Places in the decoder that receive them, in order. A list of addresses (`before layer.4`, `attention layer.4`,
    /// `inside layer.4`, `after layer.0`) or a set (`every`, `range`, `count`).
    #[schemars(with = "PointSet", extend("default" = []))]
    pub points: Vec<PointAddress>,
    /// Which tap feeds which point.
    #[schemars(extend("default" = "dense"))]
    pub wiring: Wiring,
    /// From vision width to language width, per tap. Default: `shared`, the input's own projector.
    pub adapter: Adapter,
    /// How the weighted features change the hidden state.
    pub fusion: Fusion,
    /// The weight W of every edge. Default: `none`.
    pub gate: Gate,
    /// Positions that are changed. Default: `visual`; of a fusion that reads the picture from every position, `all`.
    pub mask: Mask,
    /// Passes in which the injection is computed. Default: `prefill`, or `all` where text positions are changed.
    pub phase: Phase,
}

impl Injection {
    /// Whether anything is injected at all.
    pub fn injects(&self) -> bool {
        !self.taps.is_empty() && !self.points.is_empty()
    }

    /// The positions over which its gates pool the hidden state, where they do.
    pub fn pool(&self) -> Option<GatePool> {
        match &self.gate {
            Gate::Agf(agf) if self.injects() => Some(agf.pool),
            _ => None,
        }
    }
}

/// One of a topology's injections, with its name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NamedInjection<'t> {
    /// The name under `topology.injections`; none for the one that stands in `[topology]` itself.
    pub name: Option<&'t str>,
    /// What it says.
    pub of: &'t Injection,
}

impl NamedInjection<'_> {
    /// What the names of its weights begin with: `injection`, or `injection.NAME`.
    pub fn prefix(&self) -> String {
        self.under("injection")
    }

    /// The name of something that every injection has its own of, such as `features` or `features.NAME`.
    pub fn under(&self, what: &str) -> String {
        match self.name {
            Some(name) => format!("{what}.{name}"),
            None => what.to_owned(),
        }
    }

    /// Where it stands in a recipe: `topology`, or `topology.injections.NAME`.
    pub fn path(&self) -> String {
        match self.name {
            Some(name) => format!("topology.injections.{name}"),
            None => "topology".to_owned(),
        }
    }
}
