//! `[eval]`: how answers are generated and scored.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Greedy decoding, exact match, bootstrap confidence intervals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Eval {
    /// The part of the data that is scored.
    #[schemars(extend("default" = "test"))]
    pub split: Split,
    /// Most tokens that are generated per answer, the one that ends it included. A longer answer is cut.
    #[schemars(range(min = 1, max = 65536), extend("default" = 3))]
    pub max_new_tokens: usize,
    /// Resamples of the bootstrap.
    #[schemars(range(min = 100, max = 10_000_000), extend("default" = 1000))]
    pub bootstrap_samples: usize,
    /// Mass of the confidence interval.
    #[schemars(extend("default" = 0.95, "exclusiveMinimum" = 0.0, "exclusiveMaximum" = 1.0))]
    pub confidence: f64,
    /// Seed of the bootstrap.
    #[schemars(range(max = 9_007_199_254_740_991_u64), extend("default" = 0))]
    pub seed: u64,
    /// Score only the first so many questions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub limit: Option<usize>,
}

/// Parts of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// The training pictures.
    Train,
    /// The training pictures that were held out (`data.validation`).
    Validation,
    /// The test pictures.
    Test,
}

impl Split {
    /// The name it has in a recipe.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}
