//! The training pictures, as the training loop draws them.

use std::rc::Rc;
use std::sync::Arc;

use crossloom_data::datasets::VqaDataset;
use crossloom_data::packing::{PackedBatch, TrainingPacker};
use crossloom_recipe::Split;
use crossloom_train::step::{BatchSource, BoxError, TrainBatch};
use serde_json::Value;

use crate::question_vectors::QuestionVectors;

/// A batch that was drawn; its memory is used again for the next one.
pub struct TrainingBatch {
    pub(crate) batch: Rc<PackedBatch>,
    /// What says where its examples were written.
    pub(crate) set: Option<Arc<dyn VqaDataset>>,
}

impl TrainingBatch {
    /// A batch that was packed by the caller.
    pub fn new(batch: PackedBatch) -> Self {
        Self { batch: Rc::new(batch), set: None }
    }
}

impl TrainBatch for TrainingBatch {
    fn target_tokens(&self) -> usize {
        self.batch.trained_targets()
    }

    fn sample_ids(&self) -> Vec<String> {
        let named = |row| {
            let image = self.batch.image_of_row(row)?;
            let asked = self.batch.questions().iter().filter(|question| question.row == row);
            let places = asked.filter_map(|question| self.set.as_ref()?.place(question.example?));
            let places = places.collect::<Vec<_>>().join("; ");
            Some(if places.is_empty() {
                format!("image {image}")
            } else {
                format!("image {image} ({places})")
            })
        };
        (0..self.batch.real_rows()).filter_map(named).collect()
    }
}

/// The training pictures as an endless stream of batches.
pub(crate) struct TrainingStream<'d> {
    packer: TrainingPacker<'d>,
    vectors: Option<Arc<QuestionVectors>>,
    spare: Rc<PackedBatch>,
    set: Option<Arc<dyn VqaDataset>>,
}

impl<'d> TrainingStream<'d> {
    /// A stream from the packer's position; `vectors` are those of its questions.
    pub(crate) fn new(
        packer: TrainingPacker<'d>,
        batch: PackedBatch,
        vectors: Option<Arc<QuestionVectors>>,
    ) -> Self {
        Self { packer, vectors, spare: Rc::new(batch), set: None }
    }

    /// The same of a data set that says where its examples were written.
    pub(crate) fn of(self, set: Arc<dyn VqaDataset>) -> Self {
        Self { set: Some(set), ..self }
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
        Ok(TrainingBatch { batch: Rc::clone(&self.spare), set: self.set.clone() })
    }

    fn state(&self) -> Result<Value, BoxError> {
        Ok(serde_json::to_value(self.packer.state())?)
    }

    fn restore(&mut self, state: &Value) -> Result<(), BoxError> {
        let state = serde_json::from_value(state.clone())?;
        Ok(self.packer.resume(state)?)
    }
}
