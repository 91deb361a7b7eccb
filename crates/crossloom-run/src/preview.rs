//! The first training batch of a recipe, to be read before anything is trained.

use crossloom_data::conversations::ConversationBatch;
use crossloom_data::packing::{PackedBatch, PackedQuestion};
use crossloom_recipe::{Recipe, Split};
use serde::Serialize;

use crate::train::{conversation_stream, packer};
use crate::{Data, ExperimentError};

/// A row of the first training batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PreviewedRow {
    /// The picture, by the data set's own counting.
    pub picture: Option<u64>,
    /// Of conversations the samples that share it, by file and line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<String>,
    /// Its tokens as they are spelled, with `⟨picture of N tokens⟩` where the picture stands. What is learned is in `⟦brackets⟧`, taken from the
    /// targets of the loss.
    pub text: String,
    /// Positions that hold something.
    pub positions: usize,
    /// Targets that have a loss.
    pub learned: usize,
}

/// The first rows of the first batch that a training of the recipe would draw, at most `most` and at most a batch.
///
/// # Errors
/// Data that does not fit the recipe; a tokenizer whose decoder fails.
pub fn preview(recipe: &Recipe, data: &Data, most: usize) -> Result<Vec<PreviewedRow>, ExperimentError> {
    if let Some(mut stream) = conversation_stream(recipe, data)? {
        let ConversationBatch { batch, samples, .. } = stream.next_batch()?;
        let mut samples = samples.into_iter();
        return (0..batch.real_rows().min(most))
            .map(|row| conversation(&batch, row, &mut samples, data))
            .collect();
    }
    let plan = data.plan(recipe)?;
    let mut batch = PackedBatch::new(&plan);
    packer(recipe, data, &plan)?.fill(&mut batch)?;
    (0..batch.real_rows().min(most)).map(|row| previewed(&batch, row, data)).collect()
}

fn previewed(batch: &PackedBatch, row: usize, data: &Data) -> Result<PreviewedRow, ExperimentError> {
    let plan = batch.plan();
    let spelled = |ids: &[i32]| data.tokenizer.spelled(ids);
    let tokens = of_row(&batch.tokens_bt, row, plan.sequence_len);
    let targets = of_row(&batch.targets_bm, row, plan.targets);
    let mut text = spelled(&plan.lead)?;
    text += &format!("⟨picture of {} tokens⟩", plan.visual_tokens);
    let (mut learned, mut picture) = (0, None);
    for question in batch.questions().iter().filter(|question| question.row == row) {
        let PackedQuestion { start, prompt_len, first_slot, slots, example, .. } = *question;
        let answer: Vec<i32> =
            part(targets, first_slot, slots).iter().copied().filter(|&id| id >= 0).collect();
        text += &format!("{}⟦{}⟧", spelled(part(tokens, start, prompt_len))?, spelled(&answer)?);
        learned += answer.len();
        let example = example.and_then(|example| data.images(Split::Train).0.examples().get(example));
        picture = picture.or(example.map(|example| example.image_id));
    }
    let positions = of_row(&batch.segments_bt, row, plan.sequence_len);
    let positions = positions.iter().filter(|&&segment| segment >= 0).count();
    Ok(PreviewedRow { picture, samples: Vec::new(), text, positions, learned })
}

/// A row of conversations, each on lines of its own.
fn conversation(
    batch: &PackedBatch,
    row: usize,
    samples: &mut dyn Iterator<Item = String>,
    data: &Data,
) -> Result<PreviewedRow, ExperimentError> {
    let plan = batch.plan();
    let tokens = of_row(&batch.tokens_bt, row, plan.sequence_len);
    let segments = of_row(&batch.segments_bt, row, plan.sequence_len);
    let index = of_row(&batch.image_index_bn, row, plan.visual_tokens);
    let targets = of_row(&batch.targets_bm, row, plan.targets);
    let mut kinds: Vec<(i32, Kind)> = segments.iter().map(|&segment| (segment, Kind::Given)).collect();
    let mut mark = |at: i32, kind| {
        if let Some(of) = usize::try_from(at).ok().and_then(|at| kinds.get_mut(at)) {
            of.1 = kind;
        }
    };
    for &at in index {
        mark(at, Kind::Picture);
    }
    let slots = of_row(&batch.target_index_bm, row, plan.targets).iter().zip(targets);
    for (&at, _) in slots.filter(|(_, target)| **target >= 0) {
        mark(at + 1, Kind::Learned);
    }

    let mut text = String::new();
    let mut at = 0;
    for run in kinds.chunk_by(|a, b| a == b) {
        let ids = part(tokens, at, run.len());
        at += run.len();
        let Some(&(segment, kind)) = run.first().filter(|(segment, _)| *segment >= 0) else { continue };
        if at > run.len() && segments.get(at - run.len() - 1) != Some(&segment) {
            text.push('\n');
        }
        match kind {
            Kind::Picture => text += &format!("⟨pictures of {} tokens⟩", ids.len()),
            Kind::Given => text += &data.tokenizer.spelled(ids)?,
            Kind::Learned => text += &format!("⟦{}⟧", data.tokenizer.spelled(ids)?),
        }
    }
    let positions = segments.iter().filter(|&&segment| segment >= 0).count();
    let learned = targets.iter().filter(|&&target| target >= 0).count();
    let most = segments.iter().copied().max().unwrap_or(0).max(0) as usize;
    Ok(PreviewedRow { picture: None, samples: samples.take(most).collect(), text, positions, learned })
}

/// What a position of a row holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Given,
    Learned,
    Picture,
}

fn of_row(values: &[i32], row: usize, length: usize) -> &[i32] {
    part(values, row * length, length)
}

fn part(values: &[i32], start: usize, length: usize) -> &[i32] {
    values.get(start..start + length).unwrap_or_default()
}
