//! What a caller hears of a run while it goes.

use crossloom_train::progress::{Progress, ProgressUpdate};

/// What a variant is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Building and compiling graphs.
    Compile,
    /// Training steps.
    Train,
    /// Answering the evaluation split.
    Evaluate,
}

/// Hears how a run goes.
pub trait RunProgress: Progress + Send {
    /// A variant begins something.
    fn begin(&mut self, _variant: &str, _activity: Activity) {}
}

/// Where nobody listens.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unheard;

impl Progress for Unheard {
    fn update(&mut self, _update: &ProgressUpdate) {}
}

impl RunProgress for Unheard {}
