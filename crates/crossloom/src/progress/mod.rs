//! How a run is shown while it goes: bars that move where a person looks on, plain lines elsewhere, nothing on request.

mod bars;
mod lines;
mod words;

use crossloom_train::progress::{Progress, ProgressUpdate};

use crate::cli::Terminal;
use crate::experiment::{Reporter, Stage};

pub use bars::Bars;
pub use lines::Lines;

/// The reporter for a terminal.
pub fn reporter(terminal: &Terminal) -> Box<dyn Reporter> {
    if terminal.is_quiet() {
        Box::new(Nothing)
    } else if terminal.is_interactive() {
        Box::new(Bars::new())
    } else {
        Box::new(Lines::new(Box::new(std::io::stderr())))
    }
}

/// Shows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nothing;

impl Progress for Nothing {
    fn update(&mut self, _update: &ProgressUpdate) {}
}

impl Reporter for Nothing {
    fn begin(&mut self, _variant: &str, _stage: Stage) {}
}
