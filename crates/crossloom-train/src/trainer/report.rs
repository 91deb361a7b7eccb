//! What the loop tells the world between two steps.

use super::error::{TrainError, of_samples};
use super::io::TrainIo;
use super::timing::seconds_since_1970;
use super::watch::Spike;
use super::window::Window;
use super::{Session, Trainer};
use crate::metrics::{DrawnSamples, MetricPhase, MetricRecord, Scalars};
use crate::progress::{Phase, ProgressUpdate};
use crate::step::{SampleLoss, StepOutput, TrainStep};

/// Lines that a summary keeps.
const NOTES: usize = 32;

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

    pub(super) fn log<S>(
        &mut self,
        io: &mut TrainIo<'_, S>,
        session: &mut Session,
        counts: Scalars,
    ) -> Result<(), TrainError> {
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
        if let Some(share) = std::mem::take(&mut session.recent).share() {
            scalars.insert("data_wait".to_owned(), share);
        }
        scalars.extend(counts);
        for (edge, &mean) in last.gate_means.iter().flatten() {
            scalars.insert(format!("gate/{edge}"), f64::from(mean));
        }
        self.window = Window::default();
        emit(io, self.completed, MetricPhase::Train, scalars)?;
        Ok(())
    }

    /// Says what a batch source says, and names the samples of a step whose loss stands out, those that lost most before the others.
    pub(super) fn tell<S>(
        &self,
        output: &StepOutput,
        notes: Vec<String>,
        io: &mut TrainIo<'_, S>,
        session: &mut Session,
    ) -> Result<(), TrainError> {
        let mut notes = notes;
        if let Some(log) = &mut io.samples {
            let (step, loss) = (self.completed, output.loss);
            let spike = session.watch.see(loss);
            if let Some(Spike { mean, deviation, steps }) = spike {
                notes.push(format!(
                    "step {step}: the loss {loss:.3} stands out of the {steps} steps before it ({mean:.3} ± {deviation:.3}){}",
                    of_samples(&worst_first(&output.samples))
                ));
            }
            let samples = output.samples.clone();
            log.record(&DrawnSamples { step, loss: Some(loss), spike: spike.is_some(), samples })?;
        }
        for note in notes {
            io.progress.note(&note);
            if session.notes.len() < NOTES {
                session.notes.push(note);
            }
        }
        Ok(())
    }

    /// Measures the model, on validation data or by its answers, and tells the result.
    pub(super) fn measure<S: TrainStep>(
        &self,
        phase: MetricPhase,
        model: &mut S,
        io: &mut TrainIo<'_, S>,
        session: &Session,
    ) -> Result<(), TrainError> {
        let step = self.completed;
        self.show(io, session, Phase::Validate);
        let measure = if phase == MetricPhase::Evaluate { &mut io.evaluate } else { &mut io.validate };
        let Some(measure) = measure else { return Ok(()) };
        let scalars = measure(model, step).map_err(|source| TrainError::Validate { step, source })?;
        if let Some((name, value)) = scalars.first().filter(|_| phase == MetricPhase::Evaluate) {
            io.progress.note(&format!("step {step}: {name} {value:.3}"));
        }
        emit(io, step, phase, scalars)
    }
}

/// Samples with their losses, the largest in front.
fn worst_first(samples: &[SampleLoss]) -> Vec<String> {
    let mut samples: Vec<&SampleLoss> = samples.iter().collect();
    let loss = |sample: &SampleLoss| sample.loss.unwrap_or(f64::NEG_INFINITY);
    samples.sort_by(|a, b| loss(b).total_cmp(&loss(a)));
    samples.into_iter().map(ToString::to_string).collect()
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
