//! How features change the hidden state, at which positions and in which passes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CrossAttention, WindowAttention};

/// How features change the hidden state h at the masked positions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fusion {
    /// `h + Σ V̂`, without a gate.
    Add {
        /// How several taps at one point follow each other.
        #[schemars(extend("default" = "parallel"))]
        order: FusionOrder,
    },
    /// `h + Σ W·V̂`: the residual reading of the paper's "weighted sum".
    GatedAdd {
        /// How several taps at one point follow each other.
        #[schemars(extend("default" = "parallel"))]
        order: FusionOrder,
    },
    /// `h + Σ W·(V̂ − h)`, with one tap `(1−W)·h + W·V̂`: the convex reading of the paper's "weighted sum".
    Convex {
        /// How several taps at one point follow each other.
        #[schemars(extend("default" = "parallel"))]
        order: FusionOrder,
    },
    /// A layer of attention from positions to the features of all taps of the point, with gates that begin at zero.
    CrossAttention(CrossAttention),
    /// A layer in which every visual token reads the patches in its own window, of all taps of the point.
    Windows(WindowAttention),
}

impl Fusion {
    /// How taps at a point follow each other, where each position adds up its own rows of their features.
    pub fn order(&self) -> Option<FusionOrder> {
        match self {
            Self::Add { order } | Self::GatedAdd { order } | Self::Convex { order } => Some(*order),
            Self::CrossAttention(_) | Self::Windows(_) => None,
        }
    }

    /// Whether it multiplies features by the weight W of a gate.
    pub fn is_gated(&self) -> bool {
        matches!(self, Self::GatedAdd { .. } | Self::Convex { .. })
    }
}

/// How several taps at one point follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FusionOrder {
    /// All gates read the same h and all updates are summed. One pass over h, hence the default.
    Parallel,
    /// One tap after the other, in the order of `taps`, or of the pairs where `wiring` lists them; each gate reads the h
    /// that the previous tap has left.
    Sequential,
}

/// Positions that an injection changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mask {
    /// The positions of visual tokens.
    Visual,
    /// The positions of text: questions and answers.
    Text,
    /// All positions.
    All,
}

/// Passes in which an injection is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Once, when the prompt is read. Visual positions do not occur in decode steps.
    Prefill,
    /// When the prompt is read, and in every decode step: what is read of the picture is kept beside the cache.
    All,
}
