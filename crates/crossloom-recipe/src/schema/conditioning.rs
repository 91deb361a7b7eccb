//! A vector of what is asked.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PretrainedWeights;

/// A vector per question, for what depends on the question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Conditioning {
    /// Nothing depends on the question.
    None {},
    /// The mean of the language model's token embeddings over the question.
    Embeddings {},
    /// What a pretrained sentence encoder makes of the question's text (IGVA). It is never trained: every question is encoded once,
    /// before anything else is computed.
    Sentence {
        /// The encoder.
        weights: PretrainedWeights,
        /// Width of its vectors. Default: what the weights say.
        #[schemars(range(min = 1, max = 65536))]
        width: usize,
    },
    /// Vectors that were computed elsewhere.
    Precomputed {
        /// A safetensors file with a tensor of one axis for every question, under the question's text.
        vectors: PretrainedWeights,
        /// Width of its vectors. Default: what the file says.
        #[schemars(range(min = 1, max = 65536))]
        width: usize,
    },
}

impl Default for Conditioning {
    fn default() -> Self {
        Self::None {}
    }
}

impl Conditioning {
    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None {})
    }

    /// The width of a vector that is made of the question's text alone, before the model runs.
    pub fn given_width(&self) -> Option<usize> {
        match self {
            Self::None {} | Self::Embeddings {} => None,
            Self::Sentence { width, .. } | Self::Precomputed { width, .. } => Some(*width),
        }
    }

    /// The files that such vectors come from, and the key that names them.
    pub fn files(&self) -> Option<(&'static str, &PretrainedWeights)> {
        match self {
            Self::None {} | Self::Embeddings {} => None,
            Self::Sentence { weights, .. } => Some(("weights", weights)),
            Self::Precomputed { vectors, .. } => Some(("vectors", vectors)),
        }
    }

    /// The same, to say where they lie.
    pub fn files_mut(&mut self) -> Option<&mut PretrainedWeights> {
        match self {
            Self::None {} | Self::Embeddings {} => None,
            Self::Sentence { weights: files, .. } | Self::Precomputed { vectors: files, .. } => Some(files),
        }
    }
}
