//! The training loop.
//!
//! One optimizer step: fetch `accumulate` batches, weight each by its share of the target tokens, run them, update on
//! the last. Between steps, as often as asked: metric records, validation, evaluation, checkpoints. The stop flag is looked at between
//! micro-batches; a step that is abandoned gives its batches back to the source, so that a resume sees them again.

mod error;
mod io;
mod report;
mod step;
mod timing;
mod watch;
mod window;

pub use error::{NonFiniteReport, TrainError};
pub use io::{Outcome, Summary, TrainIo, Validate};
pub use timing::seconds_since_1970;

use self::timing::{Speed, StepTimes, Waiting};
use self::watch::LossWatch;
use self::window::Window;
use crate::checkpoint::{
    Checkpoint, CheckpointError, Checkpoints, RestorePart, ResumePolicy, SCHEMA_VERSION, SavedCheckpoint,
    TrainState,
};
use crate::groups::GroupRates;
use crate::metrics::MetricPhase;
use crate::progress::Phase;
use crate::schedule::RateCurve;
use crate::step::{BatchSource, StepOutput, TrainStep};

/// How long and how often.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainOptions {
    /// Optimizer steps in all.
    pub steps: u64,
    /// Micro-batches per optimizer step, at least 1.
    pub accumulate: usize,
    /// A metric record every so many steps (and at the last one), at least 1.
    pub log_every: u64,
    /// A checkpoint every so many steps; `None` saves only at the end and on interruption.
    pub checkpoint_every: Option<u64>,
    /// A validation every so many steps and at the last one; `None` never.
    pub validate_every: Option<u64>,
    /// An evaluation every so many steps and at the last one; `None` never.
    pub evaluate_every: Option<u64>,
    /// Hash of what the resolved recipe trains, kept in checkpoints.
    pub recipe_hash: String,
}

/// Drives a [`TrainStep`] along a [`BatchSource`].
#[derive(Debug)]
pub struct Trainer {
    options: TrainOptions,
    peaks: GroupRates,
    curve: RateCurve,
    completed: u64,
    total_tokens: u64,
    window: Window,
}

impl Trainer {
    /// A trainer at step 0. All unsound settings are reported at once.
    pub fn new(options: TrainOptions, peaks: GroupRates, curve: RateCurve) -> Result<Self, TrainError> {
        let mut problems = peaks.problems();
        problems.extend(curve.problems());
        let counts = [
            ("accumulate", Some(options.accumulate as u64)),
            ("log_every", Some(options.log_every)),
            ("checkpoint_every", options.checkpoint_every),
            ("validate_every", options.validate_every),
            ("evaluate_every", options.evaluate_every),
        ];
        for (name, count) in counts {
            if count == Some(0) {
                problems.push(format!("`{name}` must be at least 1"));
            }
        }
        if !problems.is_empty() {
            return Err(TrainError::Settings(problems));
        }
        Ok(Self { options, peaks, curve, completed: 0, total_tokens: 0, window: Window::default() })
    }

    /// Completed optimizer steps.
    pub fn completed(&self) -> u64 {
        self.completed
    }

    /// Continue from `checkpoint`: put its tensors into `model`, its position into `source`, its counters here. Refused
    /// where `policy` finds another recipe.
    pub fn resume<S, D>(
        &mut self,
        checkpoint: &Checkpoint<'_>,
        policy: &ResumePolicy<'_>,
        model: &mut S,
        source: &mut D,
    ) -> Result<(), CheckpointError>
    where
        S: TrainStep,
        D: BatchSource<Batch = S::Batch>,
    {
        policy.check(checkpoint)?;
        let state = checkpoint.state();
        let failed = |what, source| CheckpointError::Restore {
            what,
            path: checkpoint.path().join(crate::checkpoint::STATE_FILE),
            source,
        };
        checkpoint.restore_model(model, RestorePart::All)?;
        model.restore_rng(&state.rng).map_err(|error| failed("the random generator", error))?;
        source.restore(&state.sampler).map_err(|error| failed("the data position", error))?;
        self.completed = state.step;
        self.total_tokens = state.total_tokens;
        self.window = Window::from_state(state);
        Ok(())
    }

    /// Train from where it stands to the last step, or until the stop flag is set; both end with a checkpoint where
    /// [`TrainIo::checkpoints`] is given.
    pub fn run<S, D>(
        &mut self,
        model: &mut S,
        source: &mut D,
        io: &mut TrainIo<'_, S>,
    ) -> Result<Summary, TrainError>
    where
        S: TrainStep,
        D: BatchSource<Batch = S::Batch>,
    {
        let mut session = Session::default();
        let result = self.run_steps(model, source, io, &mut session);
        for sink in io.sinks.iter_mut() {
            let finished = sink.finish();
            if result.is_ok() {
                finished?;
            }
        }
        let outcome = result?;
        Ok(Summary {
            outcome,
            completed: self.completed,
            total_tokens: self.total_tokens,
            last: session.last,
            checkpoint: session.saved.map(|saved| saved.path),
            median_step: session.steps.median(),
            data_wait: session.waiting.share(),
            notes: session.notes,
        })
    }

    fn run_steps<S, D>(
        &mut self,
        model: &mut S,
        source: &mut D,
        io: &mut TrainIo<'_, S>,
        session: &mut Session,
    ) -> Result<Outcome, TrainError>
    where
        S: TrainStep,
        D: BatchSource<Batch = S::Batch>,
    {
        self.show(io, session, Phase::Train);
        while self.completed < self.options.steps {
            let Some(output) = self.step(model, source, io, session)? else {
                self.save(model, source, io, session)?;
                return Ok(Outcome::Interrupted);
            };
            self.completed += 1;
            self.total_tokens += output.tokens;
            self.window.add(&output);
            self.tell(&output, source.notes(), io, session)?;
            session.last = Some(output);
            self.show(io, session, Phase::Train);
            let last = self.completed == self.options.steps;
            if last || self.completed.is_multiple_of(self.options.log_every) {
                self.log(io, session, source.counts())?;
            }
            let due = |every: Option<u64>| every.is_some() && last || is_due(every, self.completed);
            if due(self.options.validate_every) {
                self.measure(MetricPhase::Validate, model, io, session)?;
            }
            if due(self.options.evaluate_every) {
                self.measure(MetricPhase::Evaluate, model, io, session)?;
            }
            if is_due(self.options.checkpoint_every, self.completed) && !last {
                self.save(model, source, io, session)?;
            }
        }
        self.save(model, source, io, session)?;
        Ok(Outcome::Finished)
    }

    /// Save a checkpoint of where it stands, unless that very step was saved in this session.
    fn save<S, D>(
        &self,
        model: &S,
        source: &D,
        io: &mut TrainIo<'_, S>,
        session: &mut Session,
    ) -> Result<(), TrainError>
    where
        S: TrainStep,
        D: BatchSource<Batch = S::Batch>,
    {
        let Some(checkpoints) = io.checkpoints else { return Ok(()) };
        if session.saved.as_ref().is_some_and(|saved| saved.step == self.completed) {
            return Ok(());
        }
        self.show(io, session, Phase::Checkpoint);
        let saved = self.save_to(checkpoints, model, source)?;
        tracing::info!(step = saved.step, bytes = saved.bytes, path = %saved.path.display(), "checkpoint saved");
        io.progress.note(&format!("saved {}", saved.path.display()));
        session.saved = Some(saved);
        Ok(())
    }

    /// Save a checkpoint of where the training stands now.
    pub fn save_to<S, D>(
        &self,
        checkpoints: &Checkpoints,
        model: &S,
        source: &D,
    ) -> Result<SavedCheckpoint, TrainError>
    where
        S: TrainStep,
        D: BatchSource<Batch = S::Batch>,
    {
        let state = TrainState {
            schema_version: SCHEMA_VERSION,
            step: self.completed,
            recipe_hash: self.options.recipe_hash.clone(),
            sampler: step::position(source, self.completed + 1)?,
            rng: model.rng_state(),
            window_loss_bits: self.window.loss.to_bits(),
            window_steps: self.window.steps,
            window_tokens: self.window.tokens,
            total_tokens: self.total_tokens,
        };
        Ok(checkpoints.save(model, &state)?)
    }
}

/// What one call of [`Trainer::run`] keeps track of.
#[derive(Default)]
struct Session {
    speed: Speed,
    steps: StepTimes,
    /// Of all steps, and of those since the last metric record.
    waiting: Waiting,
    recent: Waiting,
    watch: LossWatch,
    notes: Vec<String>,
    last: Option<StepOutput>,
    saved: Option<SavedCheckpoint>,
}

fn is_due(every: Option<u64>, completed: u64) -> bool {
    every.is_some_and(|every| completed.is_multiple_of(every))
}
