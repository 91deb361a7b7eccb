//! Mean scores with intervals, per variant and question type.

use serde::Serialize;

/// A measured value with its confidence interval, all three in the same unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Estimate {
    /// Point estimate.
    pub mean: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl Estimate {
    /// Whether mean and both ends are finite numbers.
    pub fn is_finite(&self) -> bool {
        self.mean.is_finite() && self.low.is_finite() && self.high.is_finite()
    }
}

/// Mean scores of all variants and priors on one split.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AccuracyTable {
    /// The split whose questions were asked, such as `test`; may be empty.
    pub split: String,
    /// What the numbers are, such as `exact match`; empty means `accuracy`. Always a share from 0 to 1.
    pub metric: String,
    /// What the metric measures, to be read after its name and a colon; may be empty.
    pub meaning: String,
    /// What the metric's benchmark reports besides, one sentence per row, names between backticks.
    pub notes: Vec<String>,
    /// The columns; the first is the headline (all questions), the others are question types.
    pub columns: Vec<AccuracyColumn>,
    /// One row per variant or prior, in the order shown.
    pub rows: Vec<AccuracyRow>,
    /// Confidence level of every interval, in 0..1, such as 0.95.
    pub confidence: f64,
    /// How the intervals were made, such as `Wilson's, over pictures`; may be empty.
    pub method: String,
    /// Name of the row that the paired differences are measured against.
    pub baseline: Option<String>,
}

impl AccuracyTable {
    /// The metric's name.
    pub(crate) fn metric(&self) -> &str {
        if self.metric.is_empty() { "accuracy" } else { &self.metric }
    }

    /// `test questions` for the split `test`.
    pub(crate) fn questions(&self) -> String {
        format!("{} questions", self.split).trim_start().to_owned()
    }
}

/// One column of the accuracy table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AccuracyColumn {
    /// `overall` or the question type.
    pub name: String,
    /// Number of questions that the column counts.
    pub questions: usize,
}

/// What a row of the accuracy table is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RowKind {
    /// A trained model that sees the picture.
    #[default]
    Model,
    /// The same kind of model with the picture withheld.
    QuestionOnly,
    /// No model: counted answers, such as the most frequent one of every question.
    Prior,
}

/// One row of the accuracy table.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AccuracyRow {
    /// Name of the variant; a model's name equals its [`Variant::name`](crate::Variant::name).
    pub name: String,
    /// Model, model without the picture, or counted answers.
    pub kind: RowKind,
    /// Mean scores in 0..1, one per column; `None` where the row was not measured.
    pub cells: Vec<Option<Estimate>>,
    /// Paired difference to the baseline on all questions, in units of the score (0.01 is one point).
    pub difference: Option<Estimate>,
    /// Number of parameters of the whole model.
    pub parameters: Option<u64>,
    /// Floating-point operations of one training step.
    pub step_flops: Option<u64>,
    /// Median time of one training step, in milliseconds.
    pub step_ms: Option<f64>,
    /// Share of the time of its steps that went into waiting for data, in 0..1.
    pub data_wait: Option<f64>,
}
