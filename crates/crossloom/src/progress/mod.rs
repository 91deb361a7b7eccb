//! How a run is shown while it goes: bars that move where a person looks on, plain lines elsewhere, nothing on request.

mod bars;
mod lines;
mod words;

use crate::cli::Terminal;
use crossloom_run::{RunProgress, Unheard};

pub use bars::Bars;
pub use lines::Lines;

/// The reporter for a terminal.
pub fn reporter(terminal: &Terminal) -> Box<dyn RunProgress> {
    if terminal.is_quiet() {
        Box::new(Unheard)
    } else if terminal.is_interactive() {
        Box::new(Bars::new())
    } else {
        Box::new(Lines::new(Box::new(std::io::stderr())))
    }
}
