//! Plain lines, for logs and pipes: the beginning and end of every stage, and a sign of life in between.

use std::fmt;
use std::io::Write;
use std::time::{Duration, Instant};

use crossloom_train::progress::{Progress, ProgressUpdate};

use super::words;
use crossloom_run::{Activity, RunProgress};

/// Time between two lines of one stage.
const INTERVAL: Duration = Duration::from_secs(10);

/// Writes plain lines.
pub struct Lines {
    out: Box<dyn Write + Send>,
    variant: String,
    last: Instant,
    interval: Duration,
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").field("variant", &self.variant).finish_non_exhaustive()
    }
}

impl Lines {
    /// Lines that go to `out`.
    pub fn new(out: Box<dyn Write + Send>) -> Self {
        Self { out, variant: String::new(), last: Instant::now(), interval: INTERVAL }
    }

    /// Where nobody reads there is nobody to tell, so failures are ignored.
    fn line(&mut self, text: &str) {
        let _ = writeln!(self.out, "{text}");
        let _ = self.out.flush();
        self.last = Instant::now();
    }
}

impl Progress for Lines {
    fn update(&mut self, update: &ProgressUpdate) {
        if words::is_checkpoint(update) {
            return;
        }
        let ended = update.steps > 0 && update.step >= update.steps;
        if !ended && self.last.elapsed() < self.interval {
            return;
        }
        let figures = words::figures(update);
        let comma = if figures.is_empty() { "" } else { ", " };
        let (variant, phase, step, steps) = (&self.variant, update.phase.name(), update.step, update.steps);
        let text = format!("{variant}: {phase} {step}/{steps}{comma}{figures}");
        self.line(&text);
    }

    fn note(&mut self, text: &str) {
        if !words::is_transient(text) || self.last.elapsed() >= self.interval {
            self.line(text);
        }
    }
}

impl RunProgress for Lines {
    fn begin(&mut self, variant: &str, activity: Activity) {
        variant.clone_into(&mut self.variant);
        self.line(&format!("{variant}: {}", words::activity(activity)));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io;
    use std::sync::{Arc, Mutex};

    use crossloom_train::progress::Phase;

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn shown(interval: Duration) -> String {
        let out = Shared::default();
        let mut lines = Lines::new(Box::new(out.clone()));
        lines.interval = interval;
        lines.note("downloading: 5 of 10 bytes");
        lines.note("ready");
        lines.begin("cli", Activity::Train);
        for step in 1..=3 {
            lines.update(&ProgressUpdate {
                phase: Phase::Train,
                step,
                steps: 3,
                steps_per_second: None,
                loss: Some(0.5),
                eta: None,
            });
        }
        String::from_utf8(out.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_stage_has_its_beginning_its_end_and_little_in_between() {
        let quick = shown(Duration::from_hours(1));
        assert_eq!(quick, "ready\ncli: training\ncli: train 3/3, loss 0.5000\n");
        let slow = shown(Duration::ZERO);
        assert_eq!(slow.lines().count(), 6, "{slow}");
    }
}
