//! Greedy answers to the questions of a batch: prompts are read once, then one token per question and call.

use crossloom_data::packing::{IMAGE_SEGMENT, PADDING_SEGMENT, PackedBatch};
use crossloom_model::inputs;
use crossloom_recipe::GatePool;
use crossloom_runtime::{RunError, Session};

use crate::ExperimentError;
use crate::features::Weights;
use crate::gates::GateMoments;
use crate::model::Model;
use crate::phases::Seen;

/// Generates the answers of a batch; `gates` gets those of `rows`, which prefill gives. `weights` are those that the model
/// has now.
pub(crate) fn answer(
    model: &mut Model,
    batch: &mut PackedBatch,
    pool: GatePool,
    weights: Weights,
    gates: &mut GateMoments,
    rows: &[usize],
) -> Result<(), ExperimentError> {
    if batch.questions().is_empty() {
        return Ok(());
    }
    let seen = model.phases.see(batch, weights)?;
    let kept: Vec<Vec<usize>> = (0..model.phases.rows()).map(|row| prompt(batch, row)).collect();
    let longest = kept.iter().map(Vec::len).max().unwrap_or_default();
    let most = batch.questions().iter().map(number).max().unwrap_or_default() + 1;
    let ((tokens, questions), prefill) = model.phases.prefill(longest, most)?;
    load_prompts(prefill, batch, pool, &kept, (tokens, questions), &seen)?;
    prefill.run()?;
    gates.add(prefill, &model.gates, rows)?;
    let predicted = prefill.read::<i32>("predictions")?;
    let next: Vec<i32> = batch
        .questions()
        .iter()
        .map(|question| predicted[question.row * questions + number(question)])
        .collect();
    batch.append_generated(&next)?;
    let mut held: Vec<usize> = kept.iter().map(Vec::len).collect();
    while batch.unfinished() > 0 {
        decode(model, batch, &mut held)?;
    }
    Ok(())
}

/// Which of its row's questions it is.
fn number(question: &crossloom_data::packing::PackedQuestion) -> usize {
    question.segment.max(1) as usize - 1
}

/// The positions of a row that are read before anything is generated: the picture and the questions, without the room that
/// is kept for answers.
fn prompt(batch: &PackedBatch, row: usize) -> Vec<usize> {
    let questions = batch.questions().iter().filter(|question| question.row == row);
    let of_questions = questions.flat_map(|question| question.start..question.start + question.prompt_len);
    (0..batch.plan().visual_tokens).chain(of_questions).collect()
}

/// Writes the prompts of a batch; `kept` are the positions of every row.
fn load_prompts(
    session: &mut Session,
    batch: &PackedBatch,
    pool: GatePool,
    kept: &[Vec<usize>],
    (tokens, questions): (usize, usize),
    seen: &Seen,
) -> Result<(), RunError> {
    let length = batch.plan().sequence_len;
    let whole =
        |values: &[i32], padding: i32| -> Vec<i32> { gathered(values, length, kept, tokens, padding) };
    session.write(inputs::TOKENS, &whole(&batch.tokens_bt, batch.plan().special.pad))?;
    session.write(inputs::POSITIONS, &whole(&batch.positions_bt, 0))?;
    let segments = whole(&batch.segments_bt, PADDING_SEGMENT);
    session.write(inputs::SEGMENTS, &segments)?;
    session.write(inputs::IMAGE_INDEX, &batch.image_index_bn)?;
    session.write(inputs::VISUAL, &seen.visual)?;
    if session.has_input(inputs::FEATURES) {
        session.write(inputs::FEATURES, &seen.features)?;
    }
    if session.has_input(inputs::POOL_MASK) {
        let mask: Vec<f32> = match pool {
            GatePool::Prompt => gathered(&batch.prompt_mask_bt, length, kept, tokens, 0.0),
            GatePool::Image => segments.iter().map(|&s| f32::from(u8::from(s == IMAGE_SEGMENT))).collect(),
        };
        session.write(inputs::POOL_MASK, &mask)?;
    }
    let mut last = vec![0; kept.len() * questions];
    let mut ends = vec![batch.plan().visual_tokens; kept.len()];
    for question in batch.questions() {
        ends[question.row] += question.prompt_len;
        last[question.row * questions + number(question)] = ends[question.row] as i32 - 1;
    }
    session.write(inputs::TARGET_INDEX, &last)?;
    place(session, &vec![0; kept.len()], &kept.iter().map(Vec::len).collect::<Vec<_>>())
}

/// The kept positions of rows of `length`, one after the other in rows of `tokens`.
fn gathered<T: Copy>(values: &[T], length: usize, kept: &[Vec<usize>], tokens: usize, padding: T) -> Vec<T> {
    let mut rows = vec![padding; kept.len() * tokens];
    for (row, positions) in kept.iter().enumerate() {
        for (to, &from) in positions.iter().enumerate() {
            rows[row * tokens + to] = values[row * length + from];
        }
    }
    rows
}

/// Says that every row goes on with the slot of its number, what that holds, and how much is added.
fn place(session: &mut Session, held: &[usize], added: &[usize]) -> Result<(), RunError> {
    let whole = |counts: &[usize]| -> Vec<i32> { counts.iter().map(|&count| count as i32).collect() };
    let slots: Vec<i32> = (0..held.len() as i32).collect();
    session.write(inputs::SLOT, &slots)?;
    session.write(inputs::START, &whole(held))?;
    session.write(inputs::COUNT, &whole(added))
}

/// Reads the last token of every open question and appends the next one. `held` is what the slots hold.
fn decode(model: &mut Model, batch: &mut PackedBatch, held: &mut [usize]) -> Result<(), ExperimentError> {
    let mut added = vec![0; held.len()];
    // Where each question's token stands among those of its row.
    let column: Vec<Option<usize>> = (batch.questions().iter())
        .map(|question| {
            let open = !question.finished;
            added[question.row] += usize::from(open);
            open.then(|| added[question.row] - 1)
        })
        .collect();
    let most = added.iter().copied().max().unwrap_or_default();
    let (width, session) = model.phases.decode(most)?;
    let size = held.len() * width;
    let (mut tokens, mut positions, mut segments) =
        (vec![batch.plan().special.pad; size], vec![0; size], vec![PADDING_SEGMENT; size]);
    for (index, (question, column)) in batch.questions().iter().zip(&column).enumerate() {
        if let (Some(column), Some(&token)) = (column, batch.generated(index).last()) {
            let at = question.row * width + column;
            let offset = question.prompt_len + question.answer_len - 1;
            (tokens[at], segments[at]) = (token, question.segment);
            positions[at] = (batch.plan().visual_tokens + offset) as i32;
        }
    }
    session.write(inputs::TOKENS, &tokens)?;
    session.write(inputs::POSITIONS, &positions)?;
    session.write(inputs::SEGMENTS, &segments)?;
    place(session, held, &added)?;
    session.run()?;
    let predicted = session.read::<i32>("predictions")?;
    let of = |(question, column): (&crossloom_data::packing::PackedQuestion, &Option<usize>)| {
        column.map_or(0, |column| predicted[question.row * width + column])
    };
    let next: Vec<i32> = batch.questions().iter().zip(&column).map(of).collect();
    batch.append_generated(&next)?;
    held.iter_mut().zip(added).for_each(|(held, added)| *held += added);
    Ok(())
}

#[cfg(test)]
mod tests;
