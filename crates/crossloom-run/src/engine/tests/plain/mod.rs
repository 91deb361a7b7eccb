//! Greedy answers to the questions of a batch, one batch after the other: prompts are read once, then one token per question and call. It is
//! the plain loop that an engine's answers are held against, and it runs batches that no request can be laid into.

use crossloom_data::packing::{PADDING_SEGMENT, PackedBatch};
use crossloom_model::inputs;

use crate::ExperimentError;
use crate::batch::{Laid, Pools, load_text_segments};
use crate::gates::GateMoments;
use crate::model::Model;
use crate::prefill::{Reading, place};
use crate::states::Encoding;

/// Generates the answers of a batch; `gates` gets those of `rows`, which prefill gives. `encoding` is how it encodes
/// pictures now.
pub(crate) fn answer(
    model: &mut Model,
    batch: &mut PackedBatch,
    pools: &Pools,
    encoding: Encoding,
    gates: &mut GateMoments,
    rows: &[usize],
) -> Result<(), ExperimentError> {
    if batch.questions().is_empty() {
        return Ok(());
    }
    let slots = (0..model.phases.rows()).collect();
    let mut reading = Reading::begin(&mut model.phases, batch, encoding, slots)?;
    let mut next = vec![0; batch.questions().len()];
    while let Some(read) = reading.read(&mut model.phases, batch, pools)? {
        if read.gates {
            gates.add(read.session, &model.gates, rows)?;
        }
        let predicted = read.session.read::<i32>("predictions")?;
        for (next, ended) in next.iter_mut().zip(read.ended) {
            if let Some(&token) = ended.and_then(|at| predicted.get(at)) {
                *next = token;
            }
        }
    }
    batch.append_generated(&next)?;
    let mut held = reading.lengths();
    while batch.unfinished() > 0 {
        decode(model, batch, &mut held)?;
    }
    Ok(())
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
    let ((_, width), session) = model.phases.decode(held.len(), most)?;
    let size = held.len() * width;
    let (mut tokens, mut positions, mut segments) =
        (vec![batch.plan().special.pad; size], vec![0; size], vec![PADDING_SEGMENT; size]);
    for (index, (question, column)) in batch.questions().iter().zip(&column).enumerate() {
        if let (Some(column), Some(&token)) = (column, batch.generated(index).last()) {
            let at = question.row * width + column;
            // The answer goes on behind the last position of the prompt.
            let last = question.row * batch.plan().sequence_len + question.start + question.prompt_len - 1;
            (tokens[at], segments[at]) = (token, question.segment);
            positions[at] = batch.positions_bt[last] + question.answer_len as i32;
        }
    }
    session.write(inputs::TOKENS, &tokens)?;
    session.write(inputs::POSITIONS, &positions)?;
    session.write(inputs::SEGMENTS, &segments)?;
    let laid = Laid::new(&segments, held.len(), &[]);
    load_text_segments(session, &laid)?;
    if session.has_input(inputs::TEXT_MASK) {
        session.write(inputs::TEXT_MASK, &laid.text_mask())?;
    }
    let slots: Vec<usize> = (0..held.len()).collect();
    place(session, &slots, held, &added)?;
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

mod asked;
pub(crate) mod compared;
mod whose;
