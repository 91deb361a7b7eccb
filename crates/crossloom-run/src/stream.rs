//! The training pictures, as the training loop draws them.

use std::rc::Rc;
use std::sync::Arc;

use crossloom_data::packing::{PackedBatch, TrainingPacker};
use crossloom_recipe::Split;
use crossloom_train::step::{BatchSource, BoxError, TrainBatch};
use serde_json::Value;

use crate::question_vectors::QuestionVectors;

/// A batch that was drawn; its memory is used again for the next one.
pub struct TrainingBatch {
    pub(crate) batch: Rc<PackedBatch>,
}

impl TrainingBatch {
    /// A batch that was packed by the caller.
    pub fn new(batch: PackedBatch) -> Self {
        Self { batch: Rc::new(batch) }
    }
}

impl TrainBatch for TrainingBatch {
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
pub(crate) struct TrainingStream<'d> {
    packer: TrainingPacker<'d>,
    vectors: Option<Arc<QuestionVectors>>,
    spare: Rc<PackedBatch>,
}

impl<'d> TrainingStream<'d> {
    /// A stream from the packer's position; `vectors` are those of its questions.
    pub(crate) fn new(
        packer: TrainingPacker<'d>,
        batch: PackedBatch,
        vectors: Option<Arc<QuestionVectors>>,
    ) -> Self {
        Self { packer, vectors, spare: Rc::new(batch) }
    }
}

impl BatchSource for TrainingStream<'_> {
    type Batch = TrainingBatch;

    fn next_batch(&mut self) -> Result<TrainingBatch, BoxError> {
        // The loop lets go of a batch before it asks for the next one, so this does not copy.
        let batch = Rc::make_mut(&mut self.spare);
        self.packer.fill(batch)?;
        if let Some(vectors) = &self.vectors {
            vectors.lay(Split::Train, batch)?;
        }
        Ok(TrainingBatch { batch: Rc::clone(&self.spare) })
    }

    fn state(&self) -> Result<Value, BoxError> {
        Ok(serde_json::to_value(self.packer.state())?)
    }

    fn restore(&mut self, state: &Value) -> Result<(), BoxError> {
        let state = serde_json::from_value(state.clone())?;
        Ok(self.packer.resume(state)?)
    }
}
