//! Evaluation batches: every question exactly once.

use std::ops::Range;

use super::pixels::PixelWriter;
use super::row::{Answer, RowWriter};
use super::training::{check_batch, check_source};
use super::{EncodedSplit, ImageMode, PackedBatch, PackingError, PackingPlan};
use crate::datasets::ImageStore;
use crate::image::Normalization;

/// Whether the answers are in the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerMode {
    /// They are, and they are the targets: for the loss on held-out data.
    Given,
    /// They are not; room is kept for [`PackedBatch::append_generated`].
    Awaited,
}

/// Questions about one picture that share a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuestionRow {
    /// The picture's place in its store.
    pub image: usize,
    /// The numbers of the questions in their split.
    pub examples: Vec<usize>,
}

impl QuestionRow {
    /// The rows of a plan that ask every question of a split once: pictures in order, their questions in order, as many rows per picture as
    /// its questions need.
    ///
    /// # Errors
    /// When pictures, questions and plan do not belong together, or a question does not fit the plan.
    pub fn all(
        plan: &PackingPlan,
        encoded: &EncodedSplit,
        images: &ImageStore,
    ) -> Result<Vec<Self>, PackingError> {
        check_source(plan, encoded, images)?;
        let row = |(image, range): (usize, Range<usize>)| {
            let examples = encoded.examples_of(image).get(range).unwrap_or_default();
            Self { image, examples: examples.iter().map(|&example| example as usize).collect() }
        };
        Ok(lay_out(plan, encoded)?.into_iter().map(row).collect())
    }
}

/// Fills evaluation batches: pictures in order, their questions in order, as many rows per picture as its questions
/// need. The last batch is filled up with rows that hold no question ([`PackedBatch::real_rows`]).
#[derive(Debug)]
pub struct EvaluationPacker<'a> {
    plan: PackingPlan,
    encoded: &'a EncodedSplit,
    images: &'a ImageStore,
    pixels: PixelWriter,
    /// Per row: the picture, and which of its questions.
    rows: Vec<(usize, Range<usize>)>,
}

impl<'a> EvaluationPacker<'a> {
    /// Lays out all rows of the split.
    ///
    /// # Errors
    /// When pictures, questions and plan do not belong together, or a question does not fit the plan.
    pub fn new(
        plan: &PackingPlan,
        encoded: &'a EncodedSplit,
        images: &'a ImageStore,
        normalization: &Normalization,
        image_mode: ImageMode,
    ) -> Result<Self, PackingError> {
        check_source(plan, encoded, images)?;
        let rows = lay_out(plan, encoded)?;
        let pixels = PixelWriter::new(normalization, image_mode)?;
        Ok(Self { plan: plan.clone(), encoded, images, pixels, rows })
    }

    /// How many batches hold the whole split.
    pub fn batches(&self) -> usize {
        self.rows.len().div_ceil(self.plan.batch_size)
    }

    /// How many rows hold the whole split.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Fills batch `index`. Never allocates.
    ///
    /// # Errors
    /// When there is no such batch, or `batch` was made for another plan.
    pub fn fill(
        &self,
        index: usize,
        answers: AnswerMode,
        batch: &mut PackedBatch,
    ) -> Result<(), PackingError> {
        check_batch(&self.plan, batch)?;
        if index >= self.batches() {
            return Err(PackingError::NoSuchBatch { index, batches: self.batches() });
        }
        batch.clear(answers == AnswerMode::Awaited);
        for row in 0..self.plan.batch_size {
            let planned = self.rows.get(index * self.plan.batch_size + row);
            self.pixels.write(batch, row, planned.and_then(|(image, _)| self.images.get(*image)))?;
            let Some((image, range)) = planned else {
                RowWriter::begin(batch, row);
                continue;
            };
            batch.row_images[row] = Some(*image);
            batch.real_rows += 1;
            let mut writer = RowWriter::begin(batch, row);
            for &example in self.encoded.examples_of(*image).get(range.clone()).unwrap_or_default() {
                let example = example as usize;
                let answer = match answers {
                    AnswerMode::Given => Answer::Given(self.encoded.answer(example)),
                    AnswerMode::Awaited => Answer::Awaited,
                };
                writer.push(self.encoded.question(example), answer, Some(example));
            }
        }
        Ok(())
    }
}

/// Rows in which every question fits with its answer and as a prompt, so that both modes share one layout.
pub(super) fn lay_out(
    plan: &PackingPlan,
    encoded: &EncodedSplit,
) -> Result<Vec<(usize, Range<usize>)>, PackingError> {
    let available = plan.text_positions();
    let mut rows = Vec::new();
    let mut too_long: Option<(usize, usize)> = None;
    let mut others = 0;
    for image in 0..encoded.images() {
        let examples = encoded.examples_of(image);
        let (mut first, mut used, mut slots) = (0, 0, 0);
        for (index, &example) in examples.iter().enumerate() {
            let answer = encoded.answer(example as usize).len();
            let needed = plan.question_positions(encoded.question(example as usize).len(), answer);
            if needed > available || answer + 1 > plan.targets {
                others += usize::from(too_long.is_some());
                too_long.get_or_insert((example as usize, needed));
                continue;
            }
            let full = index - first == plan.questions_per_sequence;
            if full || used + needed > available || slots + answer + 1 > plan.targets {
                rows.push((image, first..index));
                (first, used, slots) = (index, 0, 0);
            }
            used += needed;
            slots += answer + 1;
        }
        if first < examples.len() {
            rows.push((image, first..examples.len()));
        }
    }
    match too_long {
        None => Ok(rows),
        Some((example, needed)) => {
            let what = format!("question {example}");
            Err(PackingError::QuestionTooLong { what, needed, available, others })
        }
    }
}
