//! A mixture of vision states that the question chooses.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Tap;

/// `(1 − γ) Σ p_k V_k + γ R`: the question's query and a patch's key give every tap a score, and the best few are read (MoL). The score
/// of the picture is the mean over its patches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mixture {
    /// The taps that are chosen among, each as wide as one state.
    #[schemars(with = "super::address::TapSet")]
    pub of: Vec<Tap>,
    /// The tap R that is held in reserve. γ is a learned share.
    pub reserve: Tap,
    /// What taps are chosen for.
    #[schemars(extend("default" = "hybrid"))]
    pub level: MixtureLevel,
    /// How many are read; at most as many as there are.
    #[schemars(range(min = 1, max = 1024), extend("default" = 2))]
    pub top_k: usize,
    /// Width of query and keys. Default: the encoder's.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub width: usize,
    /// Factor of the load balance in the loss: as many as there are taps times the sum over taps of how often one is taken and its mean
    /// probability, which is 1 where all are taken alike.
    #[schemars(extend("default" = 0.01))]
    pub balance: f64,
}

/// What a mixture chooses taps for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MixtureLevel {
    /// The picture as a whole.
    Layer,
    /// Every patch.
    Patch,
    /// Both distributions, multiplied as experts; where they diverge, more or less of the reserve is read.
    Hybrid,
}
