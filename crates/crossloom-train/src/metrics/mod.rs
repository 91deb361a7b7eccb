//! Metric records and the places they go to.
//!
//! One [`MetricRecord`] is the scalars of one step; a [`MetricSink`] writes it somewhere. The console is not a sink: the
//! binary draws from [`Progress`](crate::progress::Progress).

mod crc32c;
mod jsonl;
mod samples;
mod tensorboard;

pub use jsonl::{JsonlSink, read_metrics};
pub use samples::{DrawnSamples, SampleLog};
pub use tensorboard::TensorBoardSink;

use std::path::PathBuf;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// Named numbers of one step, in the order they were added.
pub type Scalars = IndexMap<String, f64>;

/// Which part of the work a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricPhase {
    /// Measured on the training stream.
    Train,
    /// Measured on validation data.
    Validate,
    /// Answers to a sample of the questions.
    Evaluate,
}

impl MetricPhase {
    /// `train`, `validate` or `evaluate`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validate => "validate",
            Self::Evaluate => "evaluate",
        }
    }
}

/// The scalars of one step.
///
/// Names used by the loop: `loss` (mean since the last record), `grad_norm` (of the last step), `lr/PART`, `tokens` (since
/// the last record), `tokens_per_second`, `steps_per_second`, `data_wait` (share of the time of the steps since the last record that went
/// into waiting for batches), `gate/EDGE`, and what the batch source counts.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricRecord {
    /// Completed optimizer steps.
    pub step: u64,
    /// Seconds since 1970 when the record was made.
    pub time: f64,
    /// Which part of the work.
    pub phase: MetricPhase,
    /// The numbers.
    pub scalars: Scalars,
}

/// A metric file could not be written or read.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} the metrics file {path}: {source}", path = path.display())]
pub struct SinkError {
    /// What was being done, e.g. `write to`.
    pub doing: &'static str,
    /// The file.
    pub path: PathBuf,
    /// The operating system's reason.
    pub source: std::io::Error,
}

/// A place that metric records go to.
pub trait MetricSink {
    /// Write one record and make it visible to readers (flush).
    fn record(&mut self, record: &MetricRecord) -> Result<(), SinkError>;

    /// Make everything durable; called when the run ends or is interrupted.
    fn finish(&mut self) -> Result<(), SinkError>;
}
