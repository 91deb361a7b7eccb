//! The compiled model as the training loop sees it.

use crossloom_compiler::training::{ACCUMULATOR, MICRO_WEIGHT, hyper_input};
use crossloom_recipe::{GatePool, PointAddress, VisionAddress};
use crossloom_train::step::{
    BoxError, MicroOutput, MicroStep, ModelState, NonFinite, TrainStep, Update, Visit, share_of_targets,
};

use crate::ExperimentError;
use crate::backends::{self, Executable, Store};
use crate::batch::load_batch;
use crate::gates::GateMoments;
use crate::model::{Model, Training, visit_state};
use crate::stream::TrainingBatch;

/// A model in training.
pub struct ModelStep<'m> {
    store: &'m mut Store,
    training: &'m mut Training,
    gates: &'m [(PointAddress, Vec<VisionAddress>)],
    pool: GatePool,
    beta1: f64,
    beta2: f64,
    /// Gate means are read at steps that are multiples of this.
    gates_every: u64,
}

impl<'m> ModelStep<'m> {
    /// The step of a model; `betas` are AdamW's decay rates, for its bias corrections.
    ///
    /// # Errors
    /// A model that was built to predict only.
    pub fn new(
        model: &'m mut Model,
        pool: GatePool,
        betas: [f64; 2],
        gates_every: u64,
    ) -> Result<Self, ExperimentError> {
        let Model { store, training: Some(training), gates, .. } = model else {
            return Err(ExperimentError::request(
                "the model was built to predict and has no training step",
                "build it with Model::new",
            ));
        };
        let gates_every = gates_every.max(1);
        Ok(Self { store, training, gates, pool, beta1: betas[0], beta2: betas[1], gates_every })
    }

    /// The graph of the held-out loss, the store it runs on, and the positions over which gates pool.
    pub(crate) fn held_out(&mut self) -> (Option<&mut Executable>, &mut Store, GatePool) {
        (self.training.held_out.as_mut(), self.store, self.pool)
    }

    fn set_rates(exe: &mut Executable, update: &Update, betas: [f64; 2]) -> Result<(), BoxError> {
        let t = update.step as i32;
        let corrections = betas.map(|beta| (1.0 - beta.powi(t)).recip() as f32);
        for (part, rate) in update.rates.iter() {
            let name = hyper_input(part.name());
            if exe.has_input(&name) {
                exe.input_mut(&name)?.copy_from_slice(&[rate as f32, corrections[0], corrections[1]]);
            }
        }
        Ok(())
    }
}

impl ModelState for ModelStep<'_> {
    fn visit_state(&self, visit: &mut Visit<'_>) -> Result<(), BoxError> {
        visit_state(self.store, visit)
    }

    fn load_state(&mut self, name: &str, values: &[f32]) -> Result<(), BoxError> {
        Ok(self.store.set(name, values)?)
    }
}

impl TrainStep for ModelStep<'_> {
    type Batch = TrainingBatch;

    fn micro_step(&mut self, batch: &TrainingBatch, micro: &MicroStep<'_>) -> Result<MicroOutput, BoxError> {
        let betas = [self.beta1, self.beta2];
        let Training { step, apply, .. } = &mut *self.training;
        load_batch(step, &batch.batch, self.pool)?;
        if step.has_input(MICRO_WEIGHT) {
            step.input_mut(MICRO_WEIGHT)?[0] = micro.weight;
        } else if let Some(update) = micro.update {
            Self::set_rates(step, update, betas)?;
        }
        step.run(self.store)?;
        let loss = step.result("loss")?[0];
        let grad_norm = match (micro.update, apply.as_mut()) {
            (None, _) => None,
            (Some(_), None) => Some(step.result("grad_norm")?[0]),
            (Some(update), Some(apply)) => {
                Self::set_rates(apply, update, betas)?;
                apply.run(self.store)?;
                Some(apply.result("grad_norm")?[0])
            }
        };
        let wanted = micro.step == 1 || micro.step.is_multiple_of(self.gates_every);
        let gate_means = if wanted && !self.gates.is_empty() {
            let mut gates = GateMoments::default();
            let rows: Vec<usize> = (0..batch.batch.real_rows()).collect();
            gates.add(step, self.gates, &rows)?;
            Some(gates.means())
        } else {
            None
        };
        Ok(MicroOutput { loss, grad_norm, gate_means })
    }

    fn discard_gradients(&mut self) {
        self.store.clear(ACCUMULATOR);
    }

    fn locate_non_finite(&mut self, batches: &[TrainingBatch], update: &Update) -> Option<NonFinite> {
        // The update of a step whose gradient is not finite changes nothing, so the same batches show the same value; but
        // what they left in the accumulators must go first.
        self.discard_gradients();
        let betas = [self.beta1, self.beta2];
        let Training { step, apply, .. } = &mut *self.training;
        let named = |found: backends::NonFinite| NonFinite {
            op: found.op,
            scope: found.scope,
            value_name: found.value,
        };
        for (index, batch) in batches.iter().enumerate() {
            load_batch(step, &batch.batch, self.pool).ok()?;
            if step.has_input(MICRO_WEIGHT) {
                let weight = share_of_targets(batches, index) as f32;
                step.input_mut(MICRO_WEIGHT).ok()?[0] = weight;
            } else {
                Self::set_rates(step, update, betas).ok()?;
            }
            if let Some(found) = step.find_non_finite(self.store).ok()? {
                return Some(named(found));
            }
        }
        let apply = apply.as_mut()?;
        Self::set_rates(apply, update, betas).ok()?;
        apply.find_non_finite(self.store).ok()?.map(named)
    }
}

#[cfg(test)]
mod tests;
