//! The words that bars and lines share.

use std::time::Duration;

use crossloom_train::progress::{Phase, ProgressUpdate};

use crate::cli::duration;
use crossloom_run::Activity;

/// What a variant is busy with.
pub(super) fn activity(activity: Activity) -> &'static str {
    match activity {
        Activity::Compile => "compiling",
        Activity::Train => "training",
        Activity::Evaluate => "evaluating",
    }
}

/// Loss, speed and time left, as far as they are known.
pub(super) fn figures(update: &ProgressUpdate) -> String {
    let mut figures = Vec::new();
    if let Some(loss) = update.loss {
        figures.push(format!("loss {loss:.4}"));
    }
    if let Some(speed) = update.steps_per_second.filter(|speed| speed.is_finite()) {
        let digits = usize::from(speed < 100.0);
        let unit = if update.phase == Phase::Evaluate { "questions" } else { "steps" };
        figures.push(format!("{speed:.digits$} {unit}/s"));
    }
    if let Some(left) = update.eta.filter(|_| update.step < update.steps) {
        figures.push(format!("{} left", whole_seconds(left)));
    }
    figures.join(", ")
}

/// A guess needs no fractions: `1 s`, `59 s`, `1:00`.
fn whole_seconds(span: Duration) -> String {
    let seconds = span.as_secs_f64().ceil().max(1.0);
    if seconds < 60.0 {
        return format!("{seconds} s");
    }
    duration(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

/// Whether an update is about writing a checkpoint, which is over before a bar could move; a note says where it went.
pub(super) fn is_checkpoint(update: &ProgressUpdate) -> bool {
    update.phase == Phase::Checkpoint
}

/// Whether a note is one of many about the same transfer (`downloading: 3 of 9 bytes`), of which only some are worth
/// keeping.
pub(super) fn is_transient(note: &str) -> bool {
    ["downloading: ", "unpacking: "].iter().any(|begin| note.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_that_are_known() {
        let mut update = ProgressUpdate {
            phase: Phase::Train,
            step: 40,
            steps: 200,
            steps_per_second: Some(7.25),
            loss: Some(1.5),
            eta: Some(Duration::from_secs(95)),
        };
        assert_eq!(figures(&update), "loss 1.5000, 7.2 steps/s, 1:35 left");
        update.eta = Some(Duration::from_millis(12));
        assert_eq!(figures(&update), "loss 1.5000, 7.2 steps/s, 1 s left");
        update.phase = Phase::Evaluate;
        assert_eq!(figures(&update), "loss 1.5000, 7.2 questions/s, 1 s left");
        update.step = 200;
        update.steps_per_second = Some(f64::INFINITY);
        update.loss = None;
        assert_eq!(figures(&update), "");
    }
}
