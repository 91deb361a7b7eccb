//! One optimizer step: `accumulate` micro-batches, then an update.

use std::sync::atomic::Ordering;
use std::time::Instant;

use serde_json::Value;

use super::error::{NonFiniteReport, TrainError};
use super::io::TrainIo;
use super::{Session, Trainer};
use crate::step::{
    BatchSource, GateMeans, MicroStep, NonFinite, SampleLoss, StepOutput, TrainBatch, TrainStep, Update,
    share_of_targets,
};

impl Trainer {
    /// One optimizer step; `None` where the stop flag ended it, with model and source as before the step.
    pub(super) fn step<S, D>(
        &self,
        model: &mut S,
        source: &mut D,
        io: &TrainIo<'_, S>,
        session: &mut Session,
    ) -> Result<Option<StepOutput>, TrainError>
    where
        S: TrainStep,
        D: BatchSource<Batch = S::Batch>,
    {
        let stopped = || io.stop.load(Ordering::Relaxed);
        if stopped() {
            return Ok(None);
        }
        let step = self.completed + 1;
        let _span = tracing::debug_span!("step", step).entered();
        // A step of one micro-batch is never abandoned half-way, so it needs no way back.
        let before = match self.options.accumulate {
            0 | 1 => None,
            _ => Some((position(source, step)?, model.rng_state())),
        };

        let begun = Instant::now();
        let batches = self.fetch(source, step)?;
        let waited = begun.elapsed();
        let tokens: usize = batches.iter().map(TrainBatch::target_tokens).sum();
        let update = Update { step, rates: self.peaks.times(self.curve.factor(self.completed)) };
        let mut output = StepOutput { tokens: tokens as u64, ..StepOutput::default() };
        for (index, batch) in batches.iter().enumerate() {
            if index > 0 && stopped() {
                model.discard_gradients().map_err(|source| TrainError::Step { step, source })?;
                if let Some((position, rng)) = &before {
                    source.restore(position).map_err(|source| TrainError::Data { step, source })?;
                    model.restore_rng(rng).map_err(|source| TrainError::Step { step, source })?;
                }
                return Ok(None);
            }
            let last = index + 1 == batches.len();
            let weight = share_of_targets(&batches, index);
            let micro = MicroStep {
                step,
                index,
                count: batches.len(),
                weight: weight as f32,
                update: last.then_some(&update),
            };
            let micro_output =
                model.micro_step(batch, &micro).map_err(|source| TrainError::Step { step, source })?;
            output.loss += weight * f64::from(micro_output.loss);
            add_gate_means(&mut output.gate_means, micro_output.gate_means, weight as f32);
            let grad_norm = if last {
                micro_output.grad_norm.ok_or_else(|| TrainError::Step {
                    step,
                    source: "the model was asked for an update and returned no gradient norm".into(),
                })?
            } else {
                0.0
            };
            // A loss is that of one micro-batch, the gradient norm that of all of them.
            let culprit = match (micro_output.loss.is_finite(), grad_norm.is_finite()) {
                (false, _) => Some(("the loss", micro_output.loss, &batches[index..=index])),
                (true, false) => Some(("the gradient norm", grad_norm, &batches[..])),
                (true, true) => None,
            };
            if let Some((quantity, value, blamed)) = culprit {
                let found = model.locate_non_finite(&batches, &update);
                let samples = match blamed {
                    [only] => to_blame(only.sample_ids(), &micro_output.sample_losses),
                    all => all.iter().flat_map(TrainBatch::sample_ids).collect(),
                };
                return Err(non_finite(samples, step, quantity, value, found, io));
            }
            output.grad_norm = f64::from(grad_norm);
            if io.samples.is_some() {
                let losses = micro_output.sample_losses.into_iter().chain(std::iter::repeat(None));
                let samples = batch.sample_ids().into_iter().zip(losses);
                output.samples.extend(samples.map(|(id, loss)| SampleLoss::new(id, loss)));
            }
        }
        let elapsed = begun.elapsed();
        session.speed.add(elapsed);
        session.steps.add(elapsed);
        session.waiting.add(waited, elapsed);
        session.recent.add(waited, elapsed);
        Ok(Some(output))
    }

    /// The step's batches; those without targets are left out, as long as one has some.
    fn fetch<D: BatchSource>(&self, source: &mut D, step: u64) -> Result<Vec<D::Batch>, TrainError> {
        let mut batches = Vec::with_capacity(self.options.accumulate);
        let mut empty = Vec::new();
        for _ in 0..self.options.accumulate {
            let batch = source.next_batch().map_err(|source| TrainError::Data { step, source })?;
            if batch.target_tokens() > 0 {
                batches.push(batch);
            } else {
                empty.extend(batch.sample_ids());
            }
        }
        if batches.is_empty() { Err(TrainError::NoTargets { step, samples: empty }) } else { Ok(batches) }
    }
}

/// Where a source stands before a step.
pub(super) fn position<D: BatchSource>(source: &D, step: u64) -> Result<Value, TrainError> {
    source.state().map_err(|source| TrainError::Data { step, source })
}

/// The samples whose own loss is not finite; all of them where it is of every one that is known.
fn to_blame(ids: Vec<String>, losses: &[Option<f32>]) -> Vec<String> {
    let not_finite = |loss: &Option<f32>| loss.is_some_and(|loss| !loss.is_finite());
    if !losses.iter().any(not_finite) {
        return ids;
    }
    ids.into_iter().zip(losses).filter(|(_, loss)| not_finite(loss)).map(|(id, _)| id).collect()
}

fn non_finite<S: TrainStep>(
    samples: Vec<String>,
    step: u64,
    quantity: &'static str,
    value: f32,
    found: Option<NonFinite>,
    io: &TrainIo<'_, S>,
) -> TrainError {
    let checkpoint = io.checkpoints.and_then(|checkpoints| checkpoints.steps().ok()?.last().copied());
    TrainError::NonFinite(Box::new(NonFiniteReport { step, quantity, value, found, samples, checkpoint }))
}

fn add_gate_means(sum: &mut Option<GateMeans>, means: Option<GateMeans>, weight: f32) {
    let Some(means) = means else { return };
    let sum = sum.get_or_insert_default();
    for (edge, mean) in means {
        *sum.entry(edge).or_insert(0.0) += weight * mean;
    }
}
