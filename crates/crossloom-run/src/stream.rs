//! What is trained on, as the training loop draws it.

use std::rc::Rc;
use std::sync::Arc;

use crossloom_data::datasets::VqaDataset;
use crossloom_data::packing::{PackedBatch, TrainingPacker};
use crossloom_recipe::Split;
use crossloom_train::metrics::Scalars;
use crossloom_train::step::{BatchSource, BoxError, TrainBatch};
use serde_json::Value;

use crate::conversations::ConversationBatches;
use crate::question_vectors::QuestionVectors;

/// A batch that was drawn; its memory is used again for the next one.
pub struct TrainingBatch {
    pub(crate) batch: Rc<PackedBatch>,
    /// What says where its examples were written.
    pub(crate) set: Option<Arc<dyn VqaDataset>>,
    /// Its samples by file and line, each with its row and segment, where they are no examples of a set.
    pub(crate) samples: Vec<(String, (usize, i32))>,
}

impl TrainingBatch {
    /// A batch that was packed by the caller.
    pub fn new(batch: PackedBatch) -> Self {
        Self { batch: Rc::new(batch), set: None, samples: Vec::new() }
    }

    /// What was lost on each sample, of the losses of all targets `[B, M]`; a row is a sample where there are no others.
    pub(crate) fn sample_losses(&self, losses_bm: &[f32]) -> Vec<Option<f32>> {
        if self.samples.is_empty() {
            let rows = (0..self.batch.real_rows()).filter(|&row| self.batch.image_of_row(row).is_some());
            return rows.map(|row| self.batch.mean_over_targets(losses_bm, row, None)).collect();
        }
        let places = self.samples.iter().map(|(_, place)| place);
        places.map(|&(row, segment)| self.batch.mean_over_targets(losses_bm, row, Some(segment))).collect()
    }
}

impl TrainBatch for TrainingBatch {
    fn target_tokens(&self) -> usize {
        self.batch.trained_targets()
    }

    fn sample_ids(&self) -> Vec<String> {
        if !self.samples.is_empty() {
            return self.samples.iter().map(|(name, _)| name.clone()).collect();
        }
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

/// What a training draws its batches from.
pub(crate) enum Batches<'d> {
    /// Questions about pictures in memory.
    Pictures(TrainingStream<'d>),
    /// Conversations that are read while they are trained on.
    Conversations(ConversationBatches),
}

impl BatchSource for Batches<'_> {
    type Batch = TrainingBatch;

    fn next_batch(&mut self) -> Result<TrainingBatch, BoxError> {
        match self {
            Self::Pictures(of) => of.next_batch(),
            Self::Conversations(of) => of.next_batch(),
        }
    }

    fn state(&self) -> Result<Value, BoxError> {
        match self {
            Self::Pictures(of) => of.state(),
            Self::Conversations(of) => of.state(),
        }
    }

    fn counts(&self) -> Scalars {
        match self {
            Self::Pictures(of) => of.counts(),
            Self::Conversations(of) => of.counts(),
        }
    }

    fn notes(&mut self) -> Vec<String> {
        match self {
            Self::Pictures(of) => of.notes(),
            Self::Conversations(of) => of.notes(),
        }
    }

    fn restore(&mut self, state: &Value) -> Result<(), BoxError> {
        match self {
            Self::Pictures(of) => of.restore(state),
            Self::Conversations(of) => of.restore(state),
        }
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
        Ok(TrainingBatch { batch: Rc::clone(&self.spare), set: self.set.clone(), samples: Vec::new() })
    }

    fn state(&self) -> Result<Value, BoxError> {
        Ok(serde_json::to_value(self.packer.state())?)
    }

    fn restore(&mut self, state: &Value) -> Result<(), BoxError> {
        let state = serde_json::from_value(state.clone())?;
        Ok(self.packer.resume(state)?)
    }
}
