//! Greedy answers to the questions of a batch: prompts are read once, then one token per question and call.

use std::ops::Range;

use crossloom_data::packing::{PADDING_SEGMENT, PackedBatch};
use crossloom_model::inputs;
use crossloom_runtime::{RunError, Session};

use crate::ExperimentError;
use crate::batch::{Laid, Pools, load_text_segments};
use crate::gates::GateMoments;
use crate::model::Model;
use crate::phases::Seen;
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
    let seen = model.phases.see(batch, encoding)?;
    let kept: Vec<Vec<usize>> = (0..model.phases.rows()).map(|row| prompt(batch, row)).collect();
    let lengths: Vec<usize> = kept.iter().map(Vec::len).collect();
    let ends = ends(batch, &kept);
    let most = batch.questions().iter().map(number).max().unwrap_or_default() + 1;
    let mut next = vec![0; ends.len()];
    let pictures = pictures(batch, &kept);
    for (call, spans) in model.phases.calls(&lengths, &pictures)?.iter().enumerate() {
        let longest = spans.iter().map(ExactSizeIterator::len).max().unwrap_or_default();
        // Where pictures take no positions, the first call reads them.
        let picture = call == 0 || spans.iter().zip(&pictures).any(|(span, of)| span.start < of.end);
        let ((tokens, questions), prefill) = model.phases.prefill(longest, most, picture)?;
        load_prompts(prefill, batch, pools, &Part { kept: &kept, spans, tokens, questions }, &ends, &seen)?;
        prefill.run()?;
        // A chunk with a picture holds all of what its gates pool; others have no gates.
        if spans.iter().zip(&pictures).any(|(span, of)| span.contains(&of.start)) {
            gates.add(prefill, &model.gates, rows)?;
        }
        let predicted = prefill.read::<i32>("predictions")?;
        for ((question, &end), next) in batch.questions().iter().zip(&ends).zip(&mut next) {
            if spans[question.row].contains(&(end - 1)) {
                *next = predicted[question.row * questions + number(question)];
            }
        }
    }
    batch.append_generated(&next)?;
    let mut held = lengths;
    while batch.unfinished() > 0 {
        decode(model, batch, &mut held)?;
    }
    Ok(())
}

/// Which of its row's questions it is.
fn number(question: &crossloom_data::packing::PackedQuestion) -> usize {
    question.segment.max(1) as usize - 1
}

/// The positions of a row that are read before anything is generated: pictures, what is before them, and questions, without the room that
/// is kept for answers.
fn prompt(batch: &PackedBatch, row: usize) -> Vec<usize> {
    let length = batch.plan().sequence_len;
    let mask = &batch.prompt_mask_bt[row * length..(row + 1) * length];
    (0..length).filter(|&position| mask[position] != 0.0).collect()
}

/// Where the visual tokens of every row stand among its positions that are read, from the first to the last. Where there are none, the
/// row begins with them: a gate pools nothing, or the prompt.
fn pictures(batch: &PackedBatch, kept: &[Vec<usize>]) -> Vec<Range<usize>> {
    let visual = batch.plan().visual_tokens;
    let of_row = |(row, kept): (usize, &Vec<usize>)| {
        let index = batch.image_index_bn[row * visual..(row + 1) * visual].iter();
        let places: Vec<usize> = index.filter_map(|&at| among(kept, at)).collect();
        let (first, last) = (places.iter().min(), places.iter().max());
        first.zip(last).map_or(0..0, |(&first, &last)| first..last + 1)
    };
    kept.iter().enumerate().map(of_row).collect()
}

/// The place of a position among those that are read; none for one that is not, such as -1.
fn among(kept: &[usize], position: i32) -> Option<usize> {
    kept.binary_search(&usize::try_from(position).ok()?).ok()
}

/// Where every question's prompt ends among the positions of its row that are read.
fn ends(batch: &PackedBatch, kept: &[Vec<usize>]) -> Vec<usize> {
    let end = |question: &crossloom_data::packing::PackedQuestion| {
        let behind = question.start + question.prompt_len;
        kept[question.row].partition_point(|&position| position < behind)
    };
    batch.questions().iter().map(end).collect()
}

/// What a call reads of prompts.
struct Part<'p> {
    /// The positions of every row that are prompt.
    kept: &'p [Vec<usize>],
    /// Which of these are read now.
    spans: &'p [Range<usize>],
    /// The room that there is for positions of a row, and for questions.
    tokens: usize,
    questions: usize,
}

impl Part<'_> {
    /// What rows of `length` hold at the positions that are read, one after the other in rows of the call.
    fn gathered<T: Copy>(&self, values: &[T], length: usize, padding: T) -> Vec<T> {
        let mut rows = vec![padding; self.kept.len() * self.tokens];
        for (row, (positions, span)) in self.kept.iter().zip(self.spans).enumerate() {
            for (to, &from) in positions[span.clone()].iter().enumerate() {
                rows[row * self.tokens + to] = values[row * length + from];
            }
        }
        rows
    }
}

/// Writes a part of the prompts of a batch; `ends` are those of its questions.
fn load_prompts(
    session: &mut Session,
    batch: &PackedBatch,
    pools: &Pools,
    part: &Part<'_>,
    ends: &[usize],
    seen: &Seen,
) -> Result<(), RunError> {
    let Part { spans, questions, .. } = *part;
    let (length, visual) = (batch.plan().sequence_len, batch.plan().visual_tokens);
    session.write(inputs::TOKENS, &part.gathered(&batch.tokens_bt, length, batch.plan().special.pad))?;
    session.write(inputs::POSITIONS, &part.gathered(&batch.positions_bt, length, 0))?;
    let segments = part.gathered(&batch.segments_bt, length, PADDING_SEGMENT);
    session.write(inputs::SEGMENTS, &segments)?;
    let here = |(place, &at): (usize, &i32)| {
        let span = &spans[place / visual];
        let inside = among(&part.kept[place / visual], at).filter(|at| span.contains(at));
        inside.map_or(-1, |at| (at - span.start) as i32)
    };
    let index: Vec<i32> = batch.image_index_bn.iter().enumerate().map(here).collect();
    let laid = Laid::new(&segments, spans.len(), &index);
    load_text_segments(session, &laid)?;
    if session.has_input(inputs::IMAGE_INDEX) {
        session.write(inputs::IMAGE_INDEX, &index)?;
        session.write(inputs::VISUAL, &seen.visual)?;
    }
    if session.has_input(inputs::PATCH_INDEX) {
        session.write(inputs::PATCH_INDEX, &pools.patches(batch, &index))?;
    }
    for (name, features) in &seen.features {
        if session.has_input(name) {
            session.write(name, features)?;
        }
    }
    pools.write(session, &laid, || part.gathered(&batch.prompt_mask_bt, length, 0.0))?;
    if session.has_input(inputs::TEXT_MASK) {
        session.write(inputs::TEXT_MASK, &laid.text_mask())?;
    }
    if session.has_input(inputs::PICTURE_SLOT) {
        let kept = |(row, span): (usize, &Range<usize>)| if span.is_empty() { -1 } else { row as i32 };
        let slots: Vec<i32> = spans.iter().enumerate().map(kept).collect();
        session.write(inputs::PICTURE_SLOT, &slots)?;
    }
    let mut last = vec![0; spans.len() * questions];
    for (question, end) in batch.questions().iter().zip(ends) {
        let span = &spans[question.row];
        if span.contains(&(end - 1)) {
            last[question.row * questions + number(question)] = (end - 1 - span.start) as i32;
        }
    }
    session.write(inputs::TARGET_INDEX, &last)?;
    let [starts, counts] = [|span: &Range<usize>| span.start, |span: &Range<usize>| span.len()]
        .map(|of| spans.iter().map(of).collect::<Vec<usize>>());
    place(session, &starts, &counts)
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
mod asked;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod whose;
