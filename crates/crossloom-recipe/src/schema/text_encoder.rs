//! A sentence encoder, of which no recipe's model is made: what turns a text into one vector.

use serde::{Deserialize, Serialize};

use super::MlpActivation;

/// A post-norm transformer over word pieces, as BERT is, whose last states are averaged over a text's tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TextEncoder {
    /// Width of the encoder and of a text's vector.
    pub hidden: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Attention heads; divide `hidden`.
    pub heads: usize,
    /// Width of the feed-forward layer.
    pub mlp: usize,
    /// Its activation.
    pub activation: MlpActivation,
    /// Epsilon of every layer norm.
    pub norm_eps: f64,
    /// Rows of the table of word pieces.
    pub vocab_size: usize,
    /// Rows of the table of positions.
    pub max_positions: usize,
    /// Rows of the table of types; a text alone is of the first.
    pub types: usize,
    /// Tokens of the longest text that it is meant for, those that begin and end it included.
    pub max_tokens: usize,
    /// Whether a text's vector has length 1.
    pub normalized: bool,
}
