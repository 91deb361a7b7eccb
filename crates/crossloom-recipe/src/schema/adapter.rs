//! From vision width to language width.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PointAddress;

/// From vision width to language width, per tap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Adapter {
    /// Every tap passes the input's own projector. No new parameters.
    Shared {
        /// A norm on each tap before the projector.
        #[schemars(extend("default" = "none"))]
        tap_norm: TapNorm,
    },
    /// Every tap has a projector of its own, of the same shape as the input's.
    PerTap {
        /// A norm on each tap before the projector.
        #[schemars(extend("default" = "none"))]
        tap_norm: TapNorm,
    },
    /// Every edge has a projector of its own, of the same shape as the input's.
    PerEdge {
        /// A norm on each tap before the projector, one per edge.
        #[schemars(extend("default" = "none"))]
        tap_norm: TapNorm,
        /// Points whose queries begin as one patch each in place of the mean of four: those of the first as the top left of every
        /// two by two patches, then top right, bottom left, bottom right. With a projector of `window_queries` whose queries stand
        /// for two by two patches; at most four.
        #[schemars(extend("default" = []))]
        corners: Vec<PointAddress>,
    },
    /// Every tap has one linear layer of its own (Llama-3.2-Vision).
    Linear {
        /// A norm on each tap before the layer.
        #[schemars(extend("default" = "none"))]
        tap_norm: TapNorm,
        /// A bias on the layer.
        #[schemars(extend("default" = true))]
        bias: bool,
    },
    /// Every tap is brought to one width by two layers and a norm of its own, patch by patch, whatever the projector merges: what
    /// the fusion `windows` reads.
    Windows {
        /// That width. Default: the encoder's.
        #[schemars(range(min = 1, max = 1_048_576))]
        hidden: usize,
    },
    /// Adaptive multi-projection: the shared projector plus a low-rank branch per tap.
    Amp {
        /// Rank r of the branch. The paper does not state it; 16 is a common low-rank width.
        #[schemars(range(min = 1, max = 65536), extend("default" = 16))]
        rank: usize,
        /// The branch is scaled by `alpha / rank`. Default: equal to `rank`, so that a sweep over the rank does not
        /// change the scale.
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        alpha: f64,
        /// Where the branch is attached.
        #[schemars(extend("default" = "parallel"))]
        attach: AmpAttach,
        /// A norm on each tap before the projector and the branch.
        #[schemars(extend("default" = "none"))]
        tap_norm: TapNorm,
    },
}

impl Adapter {
    /// The norm on each tap.
    pub fn tap_norm(&self) -> TapNorm {
        match self {
            Self::Shared { tap_norm }
            | Self::PerTap { tap_norm }
            | Self::PerEdge { tap_norm, .. }
            | Self::Linear { tap_norm, .. }
            | Self::Amp { tap_norm, .. } => *tap_norm,
            Self::Windows { .. } => TapNorm::None,
        }
    }
}

/// Where the low-rank branch of AMP is attached. A is random and B is zero, so every branch starts at zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AmpAttach {
    /// Beside the whole projector, `P(V) + B·A·V`: the equation as the paper is quoted, hence the default.
    Parallel,
    /// On each of the projector's two linear layers, as common low-rank libraries do.
    PerLinear,
}

/// A norm on a vision state. Shallow vision layers have other magnitudes than the last one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TapNorm {
    /// None: the paper mentions none, hence the default.
    #[default]
    None,
    /// A layer norm on every patch, with its own parameters per tap.
    Layer,
    /// The same on every block of patches that are merged, all of its channels at once (Qwen3-VL's taps).
    Merged,
}

impl TapNorm {
    /// Whether there is none.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde asks for")]
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::None
    }
}
