//! What the loop tells the world between two steps.

use super::error::TrainError;
use super::io::TrainIo;
use super::timing::seconds_since_1970;
use super::window::Window;
use super::{Session, Trainer};
use crate::metrics::{MetricPhase, MetricRecord, Scalars};
use crate::progress::{Phase, ProgressUpdate};
use crate::step::TrainStep;

impl Trainer {
    pub(super) fn show<S>(&self, io: &mut TrainIo<'_, S>, session: &Session, phase: Phase) {
        let steps_per_second = session.speed.steps_per_second();
        io.progress.update(&ProgressUpdate {
            phase,
            step: self.completed,
            steps: self.options.steps,
            steps_per_second,
            loss: session.last.as_ref().map(|output| output.loss),
            eta: session.speed.time_for(self.options.steps.saturating_sub(self.completed)),
        });
    }

    pub(super) fn log<S>(&mut self, io: &mut TrainIo<'_, S>, session: &Session) -> Result<(), TrainError> {
        let Some(last) = &session.last else { return Ok(()) };
        let mut scalars = Scalars::new();
        scalars.insert("loss".to_owned(), self.window.mean_loss());
        scalars.insert("grad_norm".to_owned(), last.grad_norm);
        // The rates of the step that has just been completed.
        let factor = self.curve.factor(self.completed.saturating_sub(1));
        for (group, rate) in self.peaks.times(factor).iter() {
            // As the step has it.
            scalars.insert(format!("lr/{group}"), f64::from(rate as f32));
        }
        scalars.insert("tokens".to_owned(), self.window.tokens as f64);
        if let Some(steps_per_second) = session.speed.steps_per_second() {
            let tokens_per_step = self.window.tokens as f64 / self.window.steps as f64;
            scalars.insert("tokens_per_second".to_owned(), tokens_per_step * steps_per_second);
            scalars.insert("steps_per_second".to_owned(), steps_per_second);
        }
        for (edge, &mean) in last.gate_means.iter().flatten() {
            scalars.insert(format!("gate/{edge}"), f64::from(mean));
        }
        self.window = Window::default();
        emit(io, self.completed, MetricPhase::Train, scalars)?;
        Ok(())
    }

    pub(super) fn validate<S: TrainStep>(
        &self,
        model: &mut S,
        io: &mut TrainIo<'_, S>,
        session: &Session,
    ) -> Result<(), TrainError> {
        self.show(io, session, Phase::Validate);
        let step = self.completed;
        let Some(validate) = &mut io.validate else { return Ok(()) };
        let scalars = validate(model, step).map_err(|source| TrainError::Validate { step, source })?;
        emit(io, self.completed, MetricPhase::Validate, scalars)
    }
}

fn emit<S>(
    io: &mut TrainIo<'_, S>,
    step: u64,
    phase: MetricPhase,
    scalars: Scalars,
) -> Result<(), TrainError> {
    let record = MetricRecord { step, time: seconds_since_1970(), phase, scalars };
    for sink in io.sinks.iter_mut() {
        sink.record(&record)?;
    }
    Ok(())
}
