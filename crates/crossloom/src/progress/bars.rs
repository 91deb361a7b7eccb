//! Bars that move, for a person at a terminal.

use std::time::Duration;

use crossloom_train::progress::{Progress, ProgressUpdate};
use indicatif::{ProgressBar, ProgressStyle};

use super::words;
use crossloom_run::{Activity, RunProgress};

/// Draws one bar per stage on standard error; finished ones stay.
#[derive(Debug, Default)]
pub struct Bars {
    bar: Option<ProgressBar>,
    variant: String,
    /// The stage of the bar, and the phase that it was last told.
    phase: &'static str,
}

impl Bars {
    /// No bar yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A spinner, for work whose end is not known.
    fn spin(&mut self, text: String) {
        self.finish();
        let bar = ProgressBar::new_spinner().with_style(style("{spinner} {msg} ({elapsed})"));
        bar.set_message(text);
        bar.enable_steady_tick(Duration::from_millis(100));
        self.bar = Some(bar);
    }

    fn measure(&mut self, update: &ProgressUpdate) {
        self.finish();
        let bar = ProgressBar::new(update.steps)
            .with_style(style("{prefix:>24} [{bar:28}] {pos}/{len}  {msg}").progress_chars("=> "));
        bar.set_prefix(format!("{} {}", self.variant, update.phase.name()));
        self.bar = Some(bar);
        self.phase = update.phase.name();
    }

    fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            if bar.length().is_some() { bar.abandon() } else { bar.finish_and_clear() }
        }
        self.phase = "";
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Progress for Bars {
    fn update(&mut self, update: &ProgressUpdate) {
        if words::is_checkpoint(update) {
            return;
        }
        if self.phase != update.phase.name() {
            self.measure(update);
        }
        if let Some(bar) = &self.bar {
            bar.set_position(update.step);
            bar.set_message(words::figures(update));
        }
    }

    fn note(&mut self, text: &str) {
        if words::is_transient(text) {
            match &self.bar {
                Some(bar) if bar.length().is_none() => bar.set_message(text.to_owned()),
                _ => self.spin(text.to_owned()),
            }
        } else if let Some(bar) = &self.bar {
            bar.println(text);
        } else {
            // A bar that was never drawn writes above itself as well as any.
            ProgressBar::new_spinner().println(text);
        }
    }
}

impl RunProgress for Bars {
    fn begin(&mut self, variant: &str, activity: Activity) {
        variant.clone_into(&mut self.variant);
        self.spin(format!("{variant}: {}", words::activity(activity)));
    }
}

fn style(template: &str) -> ProgressStyle {
    // A template is fixed text, and a test reads all of them.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use crossloom_train::progress::Phase;

    use super::*;

    fn update(phase: Phase, step: u64) -> ProgressUpdate {
        ProgressUpdate { phase, step, steps: 9, steps_per_second: Some(2.0), loss: None, eta: None }
    }

    #[test]
    fn a_stage_ends_its_predecessor_and_a_phase_has_its_own_bar() {
        let mut bars = Bars::new();
        bars.begin("cli", Activity::Compile);
        assert_eq!(bars.bar.as_ref().unwrap().length(), None);
        bars.begin("cli", Activity::Train);
        bars.update(&update(Phase::Train, 4));
        let bar = bars.bar.clone().unwrap();
        assert_eq!((bar.length(), bar.position(), bar.prefix().as_str()), (Some(9), 4, "cli train"));
        assert_eq!(bar.message(), "2.0 steps/s");
        bars.update(&update(Phase::Validate, 1));
        assert!(bar.is_finished());
        assert_eq!(bars.bar.as_ref().unwrap().prefix(), "cli validate");
    }

    #[test]
    fn templates_are_sound() {
        for template in ["{spinner} {msg} ({elapsed})", "{prefix:>24} [{bar:28}] {pos}/{len}  {msg}"] {
            ProgressStyle::with_template(template).unwrap();
        }
    }
}
