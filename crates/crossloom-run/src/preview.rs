//! The first training batch of a recipe, to be read before anything is trained.

use crossloom_data::packing::{PackedBatch, PackedQuestion};
use crossloom_recipe::{Recipe, Split};
use serde::Serialize;

use crate::train::packer;
use crate::{Data, ExperimentError};

/// A row of the first training batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PreviewedRow {
    /// The picture, by the data set's own counting.
    pub picture: Option<u64>,
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
    Ok(PreviewedRow { picture, text, positions, learned })
}

fn of_row(values: &[i32], row: usize, length: usize) -> &[i32] {
    part(values, row * length, length)
}

fn part(values: &[i32], start: usize, length: usize) -> &[i32] {
    values.get(start..start + length).unwrap_or_default()
}
