//! The loss on pictures that are never trained on.

use std::sync::Arc;

use crossloom_data::packing::{AnswerMode, EvaluationPacker, PackedBatch, PackingPlan};
use crossloom_recipe::{Recipe, Split};
use crossloom_train::metrics::Scalars;
use crossloom_train::step::BoxError;

use crate::data::image_mode;
use crate::processor::Processor;
use crate::question_vectors::QuestionVectors;
use crate::step::ModelStep;
use crate::{Data, ExperimentError};

/// The name of the loss in metrics.
pub(crate) const HELD_OUT_LOSS: &str = "held_out_loss";

/// How often the loss is measured in a training, about.
const TIMES: u64 = 20;

/// The held-out pictures of a recipe, in batches with their answers.
pub(crate) struct HeldOut<'d> {
    packer: EvaluationPacker<'d>,
    vectors: Option<Arc<QuestionVectors>>,
    batch: PackedBatch,
}

impl<'d> HeldOut<'d> {
    /// The held-out pictures; nothing where the recipe holds none out.
    pub(crate) fn new(
        recipe: &Recipe,
        data: &'d Data,
        plan: &PackingPlan,
    ) -> Result<Option<Self>, ExperimentError> {
        if recipe.data.validation == 0.0 {
            return Ok(None);
        }
        let (split, encoded) = data.images(Split::Validation);
        let packer = EvaluationPacker::new(
            plan,
            encoded,
            split.images(),
            &Processor::of(recipe).normalization(),
            image_mode(recipe),
        )?;
        let vectors = data.question_vectors(recipe)?;
        Ok(Some(Self { packer, vectors, batch: PackedBatch::new(plan) }))
    }

    /// Steps between two measurements.
    pub(crate) fn every(recipe: &Recipe) -> u64 {
        recipe.train.steps.div_ceil(TIMES).max(1)
    }

    /// Mean loss over all target tokens of the held-out questions, in nats. It reads the weights and changes nothing.
    pub(crate) fn measure(&mut self, step: &mut ModelStep<'_>) -> Result<Scalars, BoxError> {
        let (mut sum, mut targets) = (0.0, 0.0);
        for index in 0..self.packer.batches() {
            self.packer.fill(index, AnswerMode::Given, &mut self.batch)?;
            if let Some(vectors) = &self.vectors {
                vectors.lay(Split::Validation, &mut self.batch)?;
            }
            let Some(loss) = step.held_out_loss(&self.batch)? else { return Ok(Scalars::new()) };
            let weight = self.batch.trained_targets() as f64;
            sum += weight * f64::from(loss);
            targets += weight;
        }
        Ok(Scalars::from_iter([(HELD_OUT_LOSS.to_owned(), sum / f64::max(targets, 1.0))]))
    }
}
