//! A layer that reads the picture: attention from positions of the sequence to features, and a feed-forward layer behind it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `h ← h + tanh(a)·CA(norm h, V̂)`, then `h ← h + tanh(b)·MLP(norm h)`: Flamingo's layer, as EVLM and Llama-3.2-Vision have it.
/// a and b are numbers that begin at `gate_init`. At a point `attention layer.N` h is what that layer's attention reads. The rows of all taps at a point are keys and values, one tap after the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CrossAttention {
    /// Query heads. Default: the language model's.
    #[schemars(range(min = 1, max = 1024))]
    pub heads: usize,
    /// Key and value heads; must divide `heads`. Default: the language model's.
    #[schemars(range(min = 1, max = 1024))]
    pub kv_heads: usize,
    /// Width of one head. Default: the language model's.
    #[schemars(range(min = 1, max = 4096))]
    pub head_dim: usize,
    /// A norm on every head of query and key, with a gain of the head's width (Llama-3.2-Vision).
    #[schemars(extend("default" = false))]
    pub qk_norm: bool,
    /// Width of the feed-forward layer behind the attention, a SwiGLU as in the language model; 0 for none. Default: the language
    /// model's `mlp`.
    #[schemars(range(max = 1_048_576))]
    pub mlp: usize,
    /// The norms in front of attention and feed-forward layer. Without them both read h as it is, which at `attention layer.N` has passed
    /// the layer's own norm.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    #[schemars(extend("default" = true))]
    pub norm: bool,
    /// The decoder layer whose attention reads h adds its own feed-forward layer to what the norm in front of it gave, and not to what the
    /// norm read: `h ← norm h`, `h ← h + MLP(h)` (the released code of layer-select-fuse). At points `attention layer.N` alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schemars(extend("default" = false))]
    pub normed_residual: bool,
    /// What a and b begin as. At 0 the layer changes nothing at first, and learns only because the features behind it do not
    /// vanish.
    #[schemars(extend("default" = 0.0))]
    pub gate_init: f64,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde asks for")]
fn is_yes(flag: &bool) -> bool {
    *flag
}
