//! What goes into and comes out of a training besides model and data.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use crate::checkpoint::Checkpoints;
use crate::metrics::{MetricSink, SampleLog, Scalars};
use crate::progress::Progress;
use crate::step::{BoxError, StepOutput};

/// Measures the model after so many steps; must leave its training state alone.
pub type Validate<'a, S> = dyn FnMut(&mut S, u64) -> Result<Scalars, BoxError> + 'a;

/// Where a training reports to, saves to, and hears to stop.
pub struct TrainIo<'a, S> {
    /// For a person.
    pub progress: &'a mut dyn Progress,
    /// For files.
    pub sinks: &'a mut [Box<dyn MetricSink>],
    /// Where checkpoints go; `None` saves none.
    pub checkpoints: Option<&'a Checkpoints>,
    /// Where the samples of every step are written down; `None` writes none, and looks for no step whose loss stands out.
    pub samples: Option<&'a mut SampleLog>,
    /// Set (by a Ctrl-C handler) to stop at the next micro-batch.
    pub stop: &'a AtomicBool,
    /// Called every [`validate_every`](super::TrainOptions::validate_every) steps.
    pub validate: Option<&'a mut Validate<'a, S>>,
    /// Called every [`evaluate_every`](super::TrainOptions::evaluate_every) steps, as `validate` is.
    pub evaluate: Option<&'a mut Validate<'a, S>>,
}

/// How a training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All steps are done.
    Finished,
    /// The stop flag was set; the checkpoint holds everything up to [`Summary::completed`].
    Interrupted,
}

/// What a training came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// How it ended.
    pub outcome: Outcome,
    /// Completed optimizer steps since the very beginning.
    pub completed: u64,
    /// Target tokens since the very beginning.
    pub total_tokens: u64,
    /// The last step of this session; `None` where it did none.
    pub last: Option<StepOutput>,
    /// The last checkpoint of this session.
    pub checkpoint: Option<PathBuf>,
    /// Median time of this session's steps, drawing their batches included, (of the newest 65,536) in seconds; `None` where it did none.
    pub median_step: Option<f64>,
    /// Share of the time of this session's steps that went into waiting for their batches; `None` where it did none.
    pub data_wait: Option<f64>,
    /// What was said of samples and of steps whose loss stood out, the first 32 lines.
    pub notes: Vec<String>,
}
