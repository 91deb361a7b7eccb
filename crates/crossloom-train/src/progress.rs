//! What a person may want to see while training runs. No terminal code here: the binary draws.

use std::time::Duration;

/// What the program is busy with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Compiling the graphs (reported by the caller, before the loop starts).
    Compile,
    /// Training steps.
    Train,
    /// Measuring in between, on validation data or by answers.
    Validate,
    /// Writing a checkpoint.
    Checkpoint,
    /// Final evaluation (reported by the caller, after the loop).
    Evaluate,
}

impl Phase {
    /// A short name, e.g. `train`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Compile => "compile",
            Self::Train => "train",
            Self::Validate => "validate",
            Self::Checkpoint => "checkpoint",
            Self::Evaluate => "evaluate",
        }
    }
}

/// One snapshot of where the work stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProgressUpdate {
    /// What is being done.
    pub phase: Phase,
    /// Steps (or questions) completed.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
    /// Recent speed in steps, or in questions that are answered, per second; `None` before the first has ended.
    pub steps_per_second: Option<f64>,
    /// Loss of the last step, in nats.
    pub loss: Option<f64>,
    /// Time left in this phase at the recent speed.
    pub eta: Option<Duration>,
}

/// Receives progress. Called once per step at least, so implementations throttle what they draw.
pub trait Progress {
    /// The work stands here now.
    fn update(&mut self, update: &ProgressUpdate);

    /// A line worth keeping, such as "saved checkpoints/step-200".
    fn note(&mut self, _text: &str) {}
}

/// Shows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn update(&mut self, _update: &ProgressUpdate) {}
}
