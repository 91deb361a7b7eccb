//! Conversations as a recipe trains on them: rows, reader, and the stream as the training loop draws it.

use std::rc::Rc;
use std::sync::Arc;
use std::thread::available_parallelism;

use crossloom_data::conversations::Source as Samples;
use crossloom_data::conversations::{
    Bucket, ConversationReader, ConversationStream, Counts, PictureReader, Room, StreamOptions, StreamState,
    Survey,
};
use crossloom_data::image::ImageProcessor;
use crossloom_data::packing::PackingPlan;
use crossloom_data::tokenizer::{ChatTokenizer, QuestionTokenizer};
use crossloom_recipe::{Recipe, Source};
use crossloom_train::metrics::Scalars;
use crossloom_train::step::{BatchSource, BoxError};
use serde_json::Value;

use crate::data::image_mode;
use crate::processor::Processor;
use crate::stream::TrainingBatch;
use crate::{Data, ExperimentError};

/// Problems that are told before a training; all are counted.
const TOLD: usize = 5;
/// Batches on the host at once: the one that is trained on, one that waits, one that is packed.
pub(crate) const BATCHES: u64 = 3;

/// What a recipe says of its conversations.
pub(crate) struct Setting {
    pub(crate) buckets: Vec<Bucket>,
    samples_per_row: usize,
    skip: u64,
    truncate: u64,
    tokenizer: ChatTokenizer,
    pictures: PictureReader,
}

impl Setting {
    /// None where a recipe trains on something else.
    ///
    /// # Errors
    /// Rows that no batch can have; a tokenizer of words.
    pub(crate) fn of(
        recipe: &Recipe,
        tokenizer: &QuestionTokenizer,
    ) -> Result<Option<Self>, ExperimentError> {
        let Source::Conversations { lengths, views, samples_per_row, skip, truncate, .. } =
            &recipe.data.source
        else {
            return Ok(None);
        };
        let (QuestionTokenizer::Chat(tokenizer), Some(text)) = (tokenizer, recipe.data.text_positions) else {
            return Err(ExperimentError::request(
                "conversations are read in a model's own tokens",
                "write data.tokenizer = \"model\", and data.text_positions",
            ));
        };
        let pictures = picture_reader(recipe, Processor::of(recipe))?;
        let lengths: Vec<usize> = lengths.iter().copied().chain([text]).collect();
        let buckets = Bucket::all(
            recipe.train.batch_size,
            &lengths,
            views,
            *samples_per_row,
            recipe.picture_positions(),
            &pictures,
            tokenizer,
        )?;
        let (most, limit) = (
            buckets.iter().map(|bucket| bucket.plan.sequence_len).max(),
            recipe.model.language.max_positions,
        );
        if let Some(most) = most.filter(|most| *most > limit) {
            return Err(ExperimentError::request(
                format!("rows have up to {most} positions, the language model allows {limit}"),
                "lower data.text_positions or data.source.views, or raise model.language.max_positions",
            ));
        }
        Ok(Some(Self {
            buckets,
            samples_per_row: *samples_per_row,
            skip: *skip as u64,
            truncate: *truncate as u64,
            tokenizer: tokenizer.clone(),
            pictures,
        }))
    }

    /// The shapes of the largest batch: those of the most text and of the most views.
    pub(crate) fn largest(&self) -> Option<&PackingPlan> {
        self.buckets.last().map(|bucket| &bucket.plan)
    }

    /// Bytes on the host: batches, and samples that are read ahead or wait for the rest of their batch.
    pub(crate) fn host_bytes(&self) -> u64 {
        let largest = self.buckets.iter().map(|bucket| bucket.plan.batch_bytes()).max().unwrap_or_default();
        let waiting: u64 = self.buckets.iter().map(|bucket| bucket.plan.batch_size as u64).sum();
        let size = self.pictures.size();
        let of_sample = |room: Room| {
            let pixels = room.views as u64 * 3 * u64::from(size.width) * u64::from(size.height);
            pixels + 4 * (room.text + room.visual) as u64
        };
        let sample = self.buckets.iter().map(|bucket| of_sample(bucket.room)).max().unwrap_or_default();
        let rows = waiting * self.samples_per_row as u64;
        BATCHES * largest + (rows + self.ahead() as u64) * sample
    }

    /// Views that a training sees more than once, at the most: those of all samples, where it draws any of them again. A training that sees
    /// each once has no use for what they were encoded to.
    pub(crate) fn seen_again(&self, recipe: &Recipe, sources: &[Samples]) -> usize {
        let train = &recipe.train;
        let rows = (train.batch_size * train.accumulate) as u64 * train.steps;
        let draws = rows.saturating_mul(self.samples_per_row as u64) as f64;
        let weight = |of: &Samples| of.weight.unwrap_or(of.records.len() as f64);
        let all: f64 = sources.iter().map(weight).sum();
        let again = |of: &&Samples| draws * weight(of) / all > of.records.len() as f64;
        let most = self.buckets.iter().map(|bucket| bucket.room.views).max().unwrap_or_default();
        sources.iter().filter(again).map(|of| of.records.len().saturating_mul(most)).sum()
    }

    /// Samples that are read ahead: those of about a batch.
    fn ahead(&self) -> usize {
        self.buckets.iter().map(|bucket| bucket.plan.batch_size).max().unwrap_or(1).max(2 * threads())
    }

    fn reader(&self) -> ConversationReader {
        let rooms = self.buckets.iter().map(|bucket| bucket.room).collect();
        ConversationReader::new(self.tokenizer.clone(), self.pictures.clone(), rooms)
    }

    /// The stream at its first batch.
    pub(crate) fn stream(
        self,
        recipe: &Recipe,
        samples: &Arc<Vec<Samples>>,
    ) -> Result<ConversationStream, ExperimentError> {
        let options = StreamOptions {
            seed: recipe.order_seed(),
            samples_per_row: self.samples_per_row,
            skip: self.skip,
            truncate: self.truncate,
            table: Processor::of(recipe).normalization().table()?,
            image_mode: image_mode(recipe),
            threads: threads(),
            ahead: self.ahead(),
        };
        let reader = Arc::new(self.reader());
        Ok(ConversationStream::new(Arc::clone(samples), reader, self.buckets, options)?)
    }
}

/// How the pictures of a recipe's conversations become views.
pub(crate) fn picture_reader(
    recipe: &Recipe,
    processor: Processor,
) -> Result<PictureReader, ExperimentError> {
    let tokens = recipe.model.visual_tokens();
    Ok(match recipe.model.vision.anyres {
        None => PictureReader::new(processor.images()?, tokens, None)?,
        Some(anyres) => {
            let Processor { image_size, resample, .. } = processor;
            let tiled =
                ImageProcessor::tiled(image_size, anyres.side as u32, resample, processor.normalization())?;
            PictureReader::new(tiled, tokens, Some(anyres.most_tiles))?
        }
    })
}

/// Views and visual tokens of the rows of the most views, where a recipe trains on conversations and these are counted.
///
/// # Errors
/// Pictures that cannot be laid out.
pub(crate) fn most_views(recipe: &Recipe) -> Result<Option<(usize, usize)>, ExperimentError> {
    let Source::Conversations { views, .. } = &recipe.data.source else { return Ok(None) };
    let (pictures, most) =
        (picture_reader(recipe, Processor::of(recipe))?, views.iter().copied().max().unwrap_or(1));
    let counted = most > 1 || !pictures.is_plain();
    Ok(counted.then(|| (most, pictures.most_tokens(most))))
}

/// Threads that read ahead: one for each processor; they share them with the step.
fn threads() -> usize {
    available_parallelism().map_or(1, Into::into)
}

/// What is said of all conversations of a recipe after every one was read, and whether they can be trained on. Nothing where it trains on
/// something else.
///
/// # Errors
/// Rows that no batch can have; more samples than may be left out or lose turns.
pub fn survey(recipe: &Recipe, data: &Data) -> Result<Option<Survey>, ExperimentError> {
    let (Some(setting), Some(samples)) = (Setting::of(recipe, &data.tokenizer)?, data.conversations()) else {
        return Ok(None);
    };
    let found = Survey::of(samples, &setting.reader(), &setting.buckets, TOLD);
    let (left, cut) = (found.left_out, found.truncated);
    if left > setting.skip || cut > setting.truncate {
        let message = format!(
            "of {} samples {left} cannot be learned from and {cut} lose turns; {} and {} may: {}",
            found.samples,
            setting.skip,
            setting.truncate,
            found.told.join("; ")
        );
        return Err(ExperimentError::request(
            message,
            "make them whole, make rows longer (data.text_positions), or raise data.source.skip or truncate",
        ));
    }
    Ok(Some(found))
}

/// The stream as the training loop draws it.
pub(crate) struct ConversationBatches {
    stream: ConversationStream,
    notes: Vec<String>,
}

impl ConversationBatches {
    pub(crate) fn new(stream: ConversationStream) -> Self {
        Self { stream, notes: Vec::new() }
    }

    /// What is to be said at the end of a training.
    pub(crate) fn told(&self) -> Option<String> {
        let Counts { left_out, truncated } = self.stream.counts();
        (left_out + truncated > 0).then(|| {
            format!("of the samples drawn so far {left_out} cannot be learned from and were left out, and {truncated} lost turns")
        })
    }
}

impl BatchSource for ConversationBatches {
    type Batch = TrainingBatch;

    fn next_batch(&mut self) -> Result<TrainingBatch, BoxError> {
        let drawn = self.stream.next_batch()?;
        self.notes.extend(drawn.notes);
        let samples = drawn.samples.into_iter().zip(drawn.places).collect();
        Ok(TrainingBatch { batch: Rc::new(drawn.batch), set: None, samples })
    }

    fn state(&self) -> Result<Value, BoxError> {
        Ok(serde_json::to_value(self.stream.state())?)
    }

    fn counts(&self) -> Scalars {
        let Counts { left_out, truncated } = self.stream.counts();
        let counts = [("samples_left_out", left_out), ("samples_truncated", truncated)];
        counts.into_iter().map(|(name, count)| (name.to_owned(), count as f64)).collect()
    }

    fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    fn restore(&mut self, state: &Value) -> Result<(), BoxError> {
        let state: StreamState = serde_json::from_value(state.clone())?;
        Ok(self.stream.restore(state)?)
    }
}
