//! Visual tokens that read windows of patches, one window each (the spatial vision aggregator of Cambrian-1).
//!
//! The window of a token is the `merge` by `merge` patches that it stands for, of every tap. A layer is
//! `q ← q + MLP(norm (x + CA(x, windows + positions)))` with `x = W [q; W' mean of the first tap]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Tap;

/// Visual tokens that begin as one learned token, each with what it reads in its window; the projector of `model.projector` follows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowInput {
    /// What is read, each brought to one width by two layers and a norm; those of an adapter `windows`, where a tap is injected too.
    #[schemars(with = "super::address::TapSet")]
    pub of: Vec<Tap>,
    /// Width of what is read, and of the attention. Default: the encoder's.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub hidden: usize,
    /// Heads. Default: the encoder's.
    #[schemars(range(min = 1, max = 1024))]
    pub heads: usize,
    /// Layers.
    #[schemars(range(min = 1, max = 64), extend("default" = 3))]
    pub depth: usize,
}

/// A layer of the kind behind a layer of the language model, whose visual tokens are the queries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowAttention {
    /// Heads; they must divide the adapter's width. Default: the encoder's.
    #[schemars(range(min = 1, max = 1024))]
    pub heads: usize,
}
