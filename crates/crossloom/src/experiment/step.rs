//! The compiled model as the training loop sees it.

use std::rc::Rc;

use crossloom_compiler::training::{ACCUMULATOR, MICRO_WEIGHT, hyper_input};
use crossloom_cpu::exec::Executable;
use crossloom_data::packing::{PackedBatch, TrainingPacker};
use crossloom_ir::Role;
use crossloom_recipe::GatePool;
use crossloom_train::step::{
    BatchSource, BoxError, MicroOutput, MicroStep, ModelState, NonFinite, TrainBatch, TrainStep, Update,
    Visit, share_of_targets,
};
use serde_json::Value;

use super::batch::load_batch;
use super::gates::GateMoments;
use super::model::Model;

/// A batch that was drawn; its memory is used again for the next one.
pub struct Drawn {
    batch: Rc<PackedBatch>,
}

impl TrainBatch for Drawn {
    fn target_tokens(&self) -> usize {
        self.batch.trained_targets()
    }

    fn sample_ids(&self) -> Vec<String> {
        (0..self.batch.real_rows())
            .filter_map(|row| self.batch.image_of_row(row))
            .map(|i| format!("image {i}"))
            .collect()
    }
}

/// The training pictures as an endless stream of batches.
pub(super) struct Stream<'d> {
    packer: TrainingPacker<'d>,
    spare: Rc<PackedBatch>,
}

impl<'d> Stream<'d> {
    /// A stream from the packer's position.
    pub(super) fn new(packer: TrainingPacker<'d>, batch: PackedBatch) -> Self {
        Self { packer, spare: Rc::new(batch) }
    }
}

impl BatchSource for Stream<'_> {
    type Batch = Drawn;

    fn next_batch(&mut self) -> Result<Drawn, BoxError> {
        // The loop lets go of a batch before it asks for the next one, so this does not copy.
        self.packer.fill(Rc::make_mut(&mut self.spare))?;
        Ok(Drawn { batch: Rc::clone(&self.spare) })
    }

    fn state(&self) -> Value {
        serde_json::to_value(self.packer.state()).unwrap_or(Value::Null)
    }

    fn restore(&mut self, state: &Value) -> Result<(), BoxError> {
        let state = serde_json::from_value(state.clone())?;
        Ok(self.packer.resume(state)?)
    }
}

/// A model in training.
pub struct ModelStep<'m> {
    model: &'m mut Model,
    pool: GatePool,
    beta1: f64,
    beta2: f64,
    /// Gate means are read at steps that are multiples of this.
    gates_every: u64,
}

impl<'m> ModelStep<'m> {
    /// The step of a model; `betas` are AdamW's decay rates, for its bias corrections.
    pub fn new(model: &'m mut Model, pool: GatePool, betas: [f64; 2], gates_every: u64) -> Self {
        Self { model, pool, beta1: betas[0], beta2: betas[1], gates_every: gates_every.max(1) }
    }

    /// The model with the positions over which its gates pool.
    pub(super) fn parts(&mut self) -> (&mut Model, GatePool) {
        (self.model, self.pool)
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
        for (name, role, ty, values) in self.model.store.iter() {
            if role == Role::Weight || !name.starts_with(ACCUMULATOR) {
                visit(name, &ty.shape, values)?;
            }
        }
        Ok(())
    }

    fn load_state(&mut self, name: &str, values: &[f32]) -> Result<(), BoxError> {
        Ok(self.model.store.set(name, values)?)
    }
}

impl TrainStep for ModelStep<'_> {
    type Batch = Drawn;

    fn micro_step(&mut self, batch: &Drawn, micro: &MicroStep<'_>) -> Result<MicroOutput, BoxError> {
        let betas = [self.beta1, self.beta2];
        let model = &mut *self.model;
        load_batch(&mut model.step, &batch.batch, self.pool)?;
        if model.step.has_input(MICRO_WEIGHT) {
            model.step.input_mut(MICRO_WEIGHT)?[0] = micro.weight;
        } else if let Some(update) = micro.update {
            Self::set_rates(&mut model.step, update, betas)?;
        }
        model.step.run(&mut model.store)?;
        let loss = model.step.result("loss")?[0];
        let grad_norm = match (micro.update, &mut model.apply) {
            (None, _) => None,
            (Some(_), None) => Some(model.step.result("grad_norm")?[0]),
            (Some(update), Some(apply)) => {
                Self::set_rates(apply, update, betas)?;
                apply.run(&mut model.store)?;
                Some(apply.result("grad_norm")?[0])
            }
        };
        let wanted = micro.step == 1 || micro.step.is_multiple_of(self.gates_every);
        let gate_means = if wanted && !model.gates.is_empty() {
            let mut gates = GateMoments::default();
            let rows: Vec<usize> = (0..batch.batch.real_rows()).collect();
            gates.add(&model.step, &model.gates, &rows)?;
            Some(gates.means())
        } else {
            None
        };
        Ok(MicroOutput { loss, grad_norm, gate_means })
    }

    fn discard_gradients(&mut self) {
        self.model.store.clear(ACCUMULATOR);
    }

    fn locate_non_finite(&mut self, batches: &[Drawn], update: &Update) -> Option<NonFinite> {
        // The update of a step whose gradient is not finite changes nothing, so the same batches show the same value; but
        // what they left in the accumulators must go first.
        self.discard_gradients();
        let betas = [self.beta1, self.beta2];
        let model = &mut *self.model;
        let named = |found: crossloom_cpu::exec::NonFinite| NonFinite {
            op: found.op,
            scope: found.scope,
            value_name: found.value,
        };
        for (index, batch) in batches.iter().enumerate() {
            load_batch(&mut model.step, &batch.batch, self.pool).ok()?;
            if model.step.has_input(MICRO_WEIGHT) {
                let weight = share_of_targets(batches, index) as f32;
                model.step.input_mut(MICRO_WEIGHT).ok()?[0] = weight;
            } else {
                Self::set_rates(&mut model.step, update, betas).ok()?;
            }
            if let Some(found) = model.step.find_non_finite(&mut model.store).ok()? {
                return Some(named(found));
            }
        }
        let apply = model.apply.as_mut()?;
        Self::set_rates(apply, update, betas).ok()?;
        apply.find_non_finite(&mut model.store).ok()?.map(named)
    }
}

#[cfg(test)]
mod tests;
