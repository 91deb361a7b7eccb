//! The weight of every edge.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The weight W of every edge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Gate {
    /// No gate: W = 1, nothing to compute.
    None {},
    /// The same fixed weight on every edge.
    Constant {
        /// The weight W.
        value: f64,
    },
    /// One learned number per edge, used as it is (no sigmoid).
    Static {
        /// W at step 0. The default is sigmoid(−4), where the `agf` gate starts, so that the two compare.
        #[schemars(extend("default" = 0.018))]
        init: f64,
    },
    /// Adaptive gating fusion: W depends on the picture and on the hidden state.
    Agf(AgfGate),
}

/// Adaptive gating fusion. A learned query pools the tap, another pools the hidden state, and a linear layer with a
/// sigmoid turns the two summaries into W.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgfGate {
    /// How the learned queries pool. The paper speaks of (multi-head) cross-attention and is silent on its
    /// projections.
    #[schemars(extend("default" = "shared"))]
    pub attention: GateAttention,
    /// Heads of that attention; must divide the language model's `hidden`. Default: as many as the language model has;
    /// 1 when `attention` is `none`, which has no heads.
    #[schemars(range(min = 1, max = 1024))]
    pub heads: usize,
    /// How many numbers W has per edge.
    #[schemars(extend("default" = "scalar"))]
    pub granularity: GateGranularity,
    /// Start of the controller's bias. The paper does not state it; −4 gives W ≈ 0.018, so that training starts near
    /// the model without injection, while 0 would add half of every tap at once.
    #[schemars(extend("default" = -4.0))]
    pub bias_init: f64,
    /// A norm on the hidden state that is pooled. The paper mentions none. The residual stream of a pretrained language model has
    /// positions and channels of a hundred to a thousand times the size of others: without a norm these alone are what the gate sees.
    #[serde(default, skip_serializing_if = "GateNorm::is_none")]
    #[schemars(extend("default" = "none"))]
    pub norm: GateNorm,
    /// Positions over which the hidden state is pooled. Never the answer: that would leak the label.
    #[schemars(extend("default" = "prompt"))]
    pub pool: GatePool,
    /// Which edges share queries, attention and controller.
    #[schemars(extend("default" = "point"))]
    pub share: GateShare,
}

/// How the learned queries of AGF pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GateAttention {
    /// Attention without projections: keys and values are the features themselves, one head.
    None,
    /// One multi-head attention with q, k, v, o projections for both summaries: half the parameters of `separate`, hence
    /// the default.
    Shared,
    /// Two multi-head attentions, one for the tap and one for the hidden state.
    Separate,
}

/// How many numbers W has per edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GateGranularity {
    /// One number: the paper draws one weight per pair of layers, hence the default.
    Scalar,
    /// One number per channel of the language model.
    Channel,
}

/// What is done to the hidden state before AGF pools it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GateNorm {
    /// Nothing: it is pooled as it is.
    #[default]
    None,
    /// An RMSNorm with a learned gain, as in front of the language model's own attention.
    Rms,
}

impl GateNorm {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde asks for")]
    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// Positions over which AGF pools the hidden state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GatePool {
    /// Image positions only: the gate depends on the picture, not on the question.
    Image,
    /// Image and question positions: the gate knows the question. Needs one question per sequence.
    Prompt,
}

/// Which edges share one gate module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GateShare {
    /// One module per point, used for all its taps: the default.
    Point,
    /// One module per edge.
    Edge,
    /// One module for the whole model.
    Global,
}
