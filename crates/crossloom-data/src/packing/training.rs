//! Training batches: endless, seeded, resumable.

use super::draw::QuestionDraw;
use super::evaluation::lay_out;
use super::pixels::{self, PixelWriter};
use super::row::{Answer, RowWriter};
use super::{EncodedSplit, ImageMode, PackedBatch, PackingError, PackingPlan};
use crate::datasets::ImageStore;
use crate::image::Normalization;
use crate::sampler::{EpochSampler, SamplerState};

/// How training batches are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainingOptions {
    /// The seed of the order of pictures and of the draw of their questions (default 0).
    pub seed: u64,
    /// How samples become f32 (default [`Normalization::HALF`]).
    pub normalization: Normalization,
    /// Whether the pictures are shown (default) or withheld.
    pub image_mode: ImageMode,
    /// The share of a row's places that goes to open questions, 0 to 1. `None` (default) draws uniformly, which gives
    /// the data's own share: about a quarter in easy-VQA. With a share, yes/no questions above it are left out.
    pub open_share: Option<f64>,
}

impl Default for TrainingOptions {
    fn default() -> Self {
        Self { seed: 0, normalization: Normalization::HALF, image_mode: ImageMode::Shown, open_share: None }
    }
}

/// Fills training batches: every epoch visits each picture that has questions once, in a seeded order, with a seeded
/// draw of its questions. What it gives depends on the seed and the plan, never on the model that is trained.
#[derive(Debug)]
pub struct TrainingPacker<'a> {
    plan: PackingPlan,
    encoded: &'a EncodedSplit,
    images: &'a ImageStore,
    options: TrainingOptions,
    pixels: PixelWriter,
    /// The pictures that have questions.
    asked: Vec<usize>,
    sampler: EpochSampler,
    draw: QuestionDraw,
}

impl<'a> TrainingPacker<'a> {
    /// A packer at the first batch of epoch 0.
    ///
    /// # Errors
    /// When an option is out of range, or pictures, questions and plan do not belong together.
    pub fn new(
        plan: &PackingPlan,
        encoded: &'a EncodedSplit,
        images: &'a ImageStore,
        options: TrainingOptions,
    ) -> Result<Self, PackingError> {
        check_source(plan, encoded, images)?;
        // A plan made for other data could have no room for some question, which would then silently never be trained.
        lay_out(plan, encoded)?;
        if let Some(share) = options.open_share
            && !(0.0..=1.0).contains(&share)
        {
            let value = share.to_string();
            return Err(PackingError::Option { key: "open_share", value, rule: "from 0 to 1" });
        }
        let asked: Vec<usize> =
            (0..encoded.images()).filter(|&image| !encoded.examples_of(image).is_empty()).collect();
        Ok(Self {
            sampler: EpochSampler::new(asked.len(), options.seed)?,
            draw: QuestionDraw::new(options.seed, plan.questions_per_sequence, options.open_share, encoded),
            pixels: PixelWriter::new(&options.normalization, options.image_mode)?,
            plan: plan.clone(),
            encoded,
            images,
            options,
            asked,
        })
    }

    /// Fills the next batch; all rows hold data. A batch may begin in one epoch and end in the next. Never allocates.
    ///
    /// # Errors
    /// When the batch was made for another plan.
    pub fn fill(&mut self, batch: &mut PackedBatch) -> Result<(), PackingError> {
        check_batch(&self.plan, batch)?;
        batch.clear(false);
        for row in 0..self.plan.batch_size {
            let drawn = self.sampler.draw();
            let image = self.asked[drawn.item];
            self.pixels.write(batch, row, self.images.get(image))?;
            batch.row_images[row] = Some(image);
            let mut writer = RowWriter::begin(batch, row);
            for &example in self.draw.candidates(self.encoded, drawn.epoch, image) {
                let example = example as usize;
                let (question, answer) = (self.encoded.question(example), self.encoded.answer(example));
                writer.push(question, Answer::Given(answer), Some(example));
                if writer.questions() == self.plan.questions_per_sequence {
                    break;
                }
            }
            batch.real_rows += 1;
        }
        Ok(())
    }

    /// Rows, and so pictures, of one epoch.
    pub fn rows_per_epoch(&self) -> usize {
        self.asked.len()
    }

    /// Where the packer stands; all that a checkpoint needs of it.
    pub fn state(&self) -> SamplerState {
        self.sampler.state()
    }

    /// Goes to where `state` was taken; the next batch is the one that followed then, bit for bit.
    ///
    /// # Errors
    /// When the state was taken with another seed or number of pictures.
    pub fn resume(&mut self, state: SamplerState) -> Result<(), PackingError> {
        self.sampler = EpochSampler::resume(state, self.asked.len(), self.options.seed)?;
        Ok(())
    }
}

/// Refuses a batch of another plan.
pub(super) fn check_batch(plan: &PackingPlan, batch: &PackedBatch) -> Result<(), PackingError> {
    if batch.plan() == plan { Ok(()) } else { Err(PackingError::ForeignBatch) }
}

/// Refuses questions, pictures and a plan that do not belong together.
pub(super) fn check_source(
    plan: &PackingPlan,
    encoded: &EncodedSplit,
    images: &ImageStore,
) -> Result<(), PackingError> {
    let same = (encoded.vocab_size(), encoded.special()) == (plan.vocab_size, plan.special);
    if !same || encoded.lead() != plan.lead {
        return Err(PackingError::Vocabulary { first: plan.vocab_size, other: encoded.vocab_size() });
    }
    if encoded.images() != images.len() {
        return Err(PackingError::Pictures { questions: encoded.images(), pictures: images.len() });
    }
    pixels::check_size(plan, images.width(), images.height())
}
