//! The compiled model as the training loop sees it.

use crossloom_compiler::training::{ACCUMULATOR, MICRO_WEIGHT, hyper_input};
use crossloom_data::packing::PackedBatch;
use crossloom_model::{LOSSES_RESULT, inputs};
use crossloom_recipe::{PointAddress, Tap};
use crossloom_runtime::{RunError, Session, Store};
use crossloom_train::step::{
    BoxError, MicroOutput, MicroStep, ModelState, NonFinite, StateTensor, TrainStep, Update, Visit,
    share_of_targets,
};

use crate::ExperimentError;
use crate::batch::{Pools, batch_shape, load_batch, load_questions};
use crate::gates::GateMoments;
use crate::model::{Model, load_state, visit_state};
use crate::phases::Phases;
use crate::states::Encoding;
use crate::stream::TrainingBatch;
use crate::training::Training;

/// A model in training.
pub struct ModelStep<'m> {
    store: &'m mut Store,
    training: &'m mut Training,
    pictures: Pictures<'m>,
    gates: &'m [(PointAddress, Vec<Tap>)],
    pools: Pools,
    beta1: f64,
    beta2: f64,
    /// Gate means are read at steps that are multiples of this.
    gates_every: u64,
    /// Losses of the targets of the newest batch `[B, M]`.
    losses_bm: Vec<f32>,
}

impl<'m> ModelStep<'m> {
    /// The step of a model; `betas` are AdamW's decay rates, for its bias corrections.
    ///
    /// # Errors
    /// A model that was built to predict only.
    pub fn new(
        model: &'m mut Model,
        pools: Pools,
        betas: [f64; 2],
        gates_every: u64,
    ) -> Result<Self, ExperimentError> {
        let Model { store, training: Some(training), gates, phases, .. } = model else {
            return Err(ExperimentError::request(
                "the model was built to predict and has no training step",
                "build it with Model::new",
            ));
        };
        let gates_every = gates_every.max(1);
        let pictures = Pictures { phases, encoding: None };
        Ok(Self {
            store,
            training,
            pictures,
            gates,
            pools,
            beta1: betas[0],
            beta2: betas[1],
            gates_every,
            losses_bm: Vec::new(),
        })
    }

    /// Writes a batch into the inputs of the training step, or of its part for one micro-batch, and gives that session to whoever measures
    /// it.
    ///
    /// # Errors
    /// A batch of other shapes; a picture that cannot be encoded.
    pub fn loaded(&mut self, batch: &PackedBatch) -> Result<&mut Session, ExperimentError> {
        let (step, _) = self.training.of(batch_shape(batch.plan()))?;
        self.pictures.load(step, batch, &self.pools)?;
        Ok(step)
    }

    /// The loss of a batch that is not trained on; `None` where no pictures are held out.
    pub(crate) fn held_out_loss(&mut self, batch: &PackedBatch) -> Result<Option<f32>, ExperimentError> {
        let Some(session) = self.training.loss_of(batch_shape(batch.plan()))? else { return Ok(None) };
        self.pictures.load(session, batch, &self.pools)?;
        session.run()?;
        Ok(Some(scalar(session, "loss")?))
    }

    /// What its model answers with, between two steps.
    pub(crate) fn answering(&mut self) -> (&mut Phases, &[(PointAddress, Vec<Tap>)]) {
        (self.pictures.phases, self.gates)
    }

    fn set_rates(session: &mut Session, update: &Update, betas: [f64; 2]) -> Result<(), BoxError> {
        let t = update.step as i32;
        let corrections = betas.map(|beta| (1.0 - beta.powi(t)).recip() as f32);
        for (group, rate) in update.rates.iter() {
            let name = hyper_input(group);
            if session.has_input(&name) {
                session.write(&name, &[rate as f32, corrections[0], corrections[1]])?;
            }
        }
        Ok(())
    }
}

/// What the sessions of a step see.
struct Pictures<'m> {
    phases: &'m mut Phases,
    /// How an encoder that is not trained encodes; it is asked once all weights are there.
    encoding: Option<Encoding>,
}

impl Pictures<'_> {
    /// Writes a batch into a session's inputs, with its pixels or, where it does not encode them itself, with what they are
    /// encoded to. Results of other sessions must have been read.
    fn load(
        &mut self,
        session: &mut Session,
        batch: &PackedBatch,
        pools: &Pools,
    ) -> Result<(), ExperimentError> {
        if session.has_input(inputs::PIXELS) {
            return Ok(load_batch(session, batch, pools)?);
        }
        let encoding = match self.encoding {
            Some(encoding) => encoding,
            None => *self.encoding.insert(self.phases.encoding()?),
        };
        // A row that only fills the batch shows no view that is counted.
        let filled = batch.plan().views.map_or(batch.real_rows(), |_| batch.plan().batch_size);
        let rows: Vec<usize> = (0..filled).collect();
        self.phases.encoder.load(session, batch, &rows, encoding)?;
        Ok(load_questions(session, batch, pools)?)
    }
}

impl ModelState for ModelStep<'_> {
    fn visit_state(&self, visit: &mut Visit<'_>) -> Result<(), BoxError> {
        visit_state(self.store, visit)
    }

    fn load_state(&mut self, tensor: StateTensor<'_>) -> Result<(), BoxError> {
        self.pictures.encoding = None;
        load_state(self.store, tensor)
    }
}

impl TrainStep for ModelStep<'_> {
    type Batch = TrainingBatch;

    fn micro_step(&mut self, batch: &TrainingBatch, micro: &MicroStep<'_>) -> Result<MicroOutput, BoxError> {
        let betas = [self.beta1, self.beta2];
        let (step, apply) = self.training.of(batch_shape(batch.batch.plan()))?;
        self.pictures.load(step, &batch.batch, &self.pools)?;
        if step.has_input(MICRO_WEIGHT) {
            step.write(MICRO_WEIGHT, &[micro.weight])?;
        } else if let Some(update) = micro.update {
            Self::set_rates(step, update, betas)?;
        }
        step.run()?;
        let loss = scalar(step, "loss")?;
        self.losses_bm.resize(batch.batch.targets_bm.len(), 0.0);
        step.read_into(LOSSES_RESULT, &mut self.losses_bm)?;
        let sample_losses = batch.sample_losses(&self.losses_bm);
        let wanted = micro.step == 1 || micro.step.is_multiple_of(self.gates_every);
        let gate_means = if wanted && !self.gates.is_empty() {
            let mut gates = GateMoments::default();
            let rows: Vec<usize> = (0..batch.batch.real_rows()).collect();
            gates.add(step, self.gates, &rows)?;
            Some(gates.means())
        } else {
            None
        };
        // What ends a step runs in the same arena, so it comes after everything that is read of this part.
        let grad_norm = match (micro.update, apply) {
            (None, _) => None,
            (Some(_), None) => Some(scalar(step, "grad_norm")?),
            (Some(update), Some(apply)) => {
                Self::set_rates(apply, update, betas)?;
                apply.run()?;
                Some(scalar(apply, "grad_norm")?)
            }
        };
        Ok(MicroOutput { loss, sample_losses, grad_norm, gate_means })
    }

    fn discard_gradients(&mut self) -> Result<(), BoxError> {
        Ok(self.store.clear(ACCUMULATOR)?)
    }

    fn locate_non_finite(&mut self, batches: &[TrainingBatch], update: &Update) -> Option<NonFinite> {
        // The update of a step whose gradient is not finite changes nothing, so the same batches show the same value; but
        // what they left in the accumulators must go first.
        self.discard_gradients().ok()?;
        let betas = [self.beta1, self.beta2];
        let named = |found: crossloom_runtime::NonFinite| NonFinite {
            op: found.op,
            scope: found.scope,
            value_name: found.value,
        };
        for (index, batch) in batches.iter().enumerate() {
            let (step, _) = self.training.of(batch_shape(batch.batch.plan())).ok()?;
            self.pictures.load(step, &batch.batch, &self.pools).ok()?;
            if step.has_input(MICRO_WEIGHT) {
                let weight = share_of_targets(batches, index) as f32;
                step.write(MICRO_WEIGHT, &[weight]).ok()?;
            } else {
                Self::set_rates(step, update, betas).ok()?;
            }
            if let Some(found) = step.find_non_finite().ok()? {
                return Some(named(found));
            }
        }
        let apply = self.training.apply.as_mut()?;
        Self::set_rates(apply, update, betas).ok()?;
        apply.find_non_finite().ok()?.map(named)
    }
}

/// The only element of a float result.
fn scalar(session: &Session, name: &str) -> Result<f32, RunError> {
    let mut value = [0.0];
    session.read_into(name, &mut value)?;
    Ok(value[0])
}

#[cfg(test)]
mod tests;
