//! Why a training ended early.

use std::fmt;

use crate::checkpoint::CheckpointError;
use crate::metrics::SinkError;
use crate::step::{BoxError, NonFinite};

/// Why a training ended early. A stop on request is no error.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// Unsound settings, all of them.
    #[error("the training settings are unsound:\n{}", .0.iter().map(|problem| format!("  {problem}")).collect::<Vec<_>>().join("\n"))]
    Settings(Vec<String>),
    /// The data set could not give or take back a batch.
    #[error("step {step}: no batch: {source}")]
    Data {
        /// Number of the step, counted from 1.
        step: u64,
        /// What the data set said.
        source: BoxError,
    },
    /// All batches of a step have no target positions.
    #[error(
        "step {step}: none of its samples has an answer to learn from{}; check the data set's answers and the sequence length",
        of_samples(samples)
    )]
    NoTargets {
        /// Number of the step, counted from 1.
        step: u64,
        /// Ids of the samples.
        samples: Vec<String>,
    },
    /// The model failed.
    #[error("step {step} failed: {source}")]
    Step {
        /// Number of the step, counted from 1.
        step: u64,
        /// What the model said.
        source: BoxError,
    },
    /// A non-finite loss or gradient.
    #[error("{0}")]
    NonFinite(Box<NonFiniteReport>),
    /// The validation failed.
    #[error("the validation after step {step} failed: {source}")]
    Validate {
        /// Completed steps.
        step: u64,
        /// What the validation said.
        source: BoxError,
    },
    /// A checkpoint could not be written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A metric could not be written.
    #[error(transparent)]
    Sink(#[from] SinkError),
}

/// What is known about the first non-finite value of a training.
#[derive(Debug, Clone, PartialEq)]
pub struct NonFiniteReport {
    /// Number of the step, counted from 1.
    pub step: u64,
    /// `the loss` or `the gradient norm`.
    pub quantity: &'static str,
    /// NaN or an infinity.
    pub value: f32,
    /// The op that made the first non-finite value, where the model found it.
    pub found: Option<NonFinite>,
    /// Ids of the samples of the micro-batch whose own loss is not finite, of all in it where none is; of all micro-batches where it is the
    /// gradient norm.
    pub samples: Vec<String>,
    /// Steps of the newest checkpoint, if there is one.
    pub checkpoint: Option<u64>,
}

impl fmt::Display for NonFiniteReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {}: {} is {}", self.step, self.quantity, self.value)?;
        match &self.found {
            Some(found) => write!(f, "; the first non-finite value came from {found}")?,
            None => write!(f, "; no single op could be blamed")?,
        }
        f.write_str(&of_samples(&self.samples))?;
        write!(f, "; the run was stopped and this state was not saved")?;
        match self.checkpoint {
            Some(step) => write!(f, ", the checkpoint of step {step} is intact")?,
            None => write!(f, ", and there is no earlier checkpoint")?,
        }
        write!(f, "; try a lower learning rate, a longer warm-up or a smaller `clip_norm`")
    }
}

/// ` (samples a, b, … and 5 more)`, or nothing.
pub(super) fn of_samples(samples: &[String]) -> String {
    const SHOWN: usize = 8;
    match samples.len() {
        0 => String::new(),
        n if n <= SHOWN => format!(" (samples {})", samples.join(", ")),
        n => format!(" (samples {}, … and {} more)", samples[..SHOWN].join(", "), n - SHOWN),
    }
}
