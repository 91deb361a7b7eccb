//! `[eval]`: how answers are generated and scored.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Precision;

/// Greedy decoding, a metric, intervals and p-values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Eval {
    /// The part of the data that is scored.
    #[schemars(extend("default" = "test"))]
    pub split: Split,
    /// What an answer scores, from 0 to 1. One metric for all variants; its data must have what it needs.
    #[schemars(extend("default" = "exact_match"))]
    pub metric: Metric,
    /// Most tokens that are generated per answer, the one that ends it included. A longer answer is cut.
    #[schemars(range(min = 1, max = 65536), extend("default" = 3))]
    pub max_new_tokens: usize,
    /// In which type keys and values of earlier positions, and those of pictures, are kept between calls. In `bf16` they are rounded
    /// once, to nearest even, and take half the memory.
    #[serde(default, skip_serializing_if = "Precision::is_default")]
    #[schemars(extend("default" = "f32"))]
    pub cache: Precision,
    /// Least number of sign patterns that are drawn for a p-value where they cannot be counted.
    #[schemars(range(min = 100, max = 10_000_000), extend("default" = 1000))]
    pub permutations: usize,
    /// Mass of the confidence interval.
    #[schemars(extend("default" = 0.95, "exclusiveMinimum" = 0.0, "exclusiveMaximum" = 1.0))]
    pub confidence: f64,
    /// Seed of drawn sign patterns.
    #[schemars(range(max = 9_007_199_254_740_991_u64), extend("default" = 0))]
    pub seed: u64,
    /// Score only the first so many questions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub limit: Option<usize>,
    /// Answer a fixed sample of the questions every so many steps of a training, and after its last one. Nothing that is trained depends on
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub every: Option<u64>,
    /// How many questions that sample has (default 100), drawn with `seed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub sample: Option<usize>,
}

/// What an answer scores against the reference answers of its question, as the benchmark of that metric computes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// 1 for equal text up to case, punctuation and outer white space (GQA).
    ExactMatch,
    /// 1 for a number within 5 % of the true one, or equal text up to case (ChartQA).
    RelaxedAccuracy,
    /// Share of the characters that need no edit, 0 below one half (DocVQA, InfoVQA).
    Anls,
    /// Agreement with several human answers per question, each left out in turn (VQAv2, OK-VQA).
    VqaAccuracy,
    /// 1 for the very word, where every true answer is yes or no (POPE).
    YesNo,
    /// 1 for a reply that begins with yes or no as the truth has it; two such questions per picture and type (MME).
    Mme,
}

impl Metric {
    /// Every metric.
    pub const ALL: [Self; 6] =
        [Self::ExactMatch, Self::RelaxedAccuracy, Self::Anls, Self::VqaAccuracy, Self::YesNo, Self::Mme];

    /// The name it has in recipes, results and records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ExactMatch => "exact_match",
            Self::RelaxedAccuracy => "relaxed_accuracy",
            Self::Anls => "anls",
            Self::VqaAccuracy => "vqa_accuracy",
            Self::YesNo => "yes_no",
            Self::Mme => "mme",
        }
    }
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
