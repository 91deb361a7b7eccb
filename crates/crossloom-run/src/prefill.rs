//! Prompts read into the cache of keys and values: pictures first, then positions, in as many calls as that takes.

use std::ops::Range;

use crossloom_data::packing::{PADDING_SEGMENT, PackedBatch, PackedQuestion};
use crossloom_model::{ViewShape, inputs};
use crossloom_runtime::{RunError, Session};

use crate::ExperimentError;
use crate::batch::{Laid, Pools, load_text_segments};
use crate::phases::{Phases, Seen};
use crate::states::Encoding;

/// Prompts of a batch that are being read.
#[derive(Debug)]
pub(crate) struct Reading {
    seen: Seen,
    /// The positions of every row that are read.
    kept: Vec<Vec<usize>>,
    /// By question: the places among those of its row whose next tokens are predicted, ascending; without scoring, that where its prompt
    /// ends.
    targets: Vec<Vec<usize>>,
    /// Whether the states of all positions are read, rather than the logits of one of each question.
    scores: bool,
    /// Where visual tokens stand among them.
    pictures: Vec<Range<usize>>,
    /// What of every row each call reads.
    calls: Vec<Vec<Range<usize>>>,
    /// Which call is next.
    next: usize,
    /// The sequence of the cache of every row.
    slots: Vec<usize>,
    /// The most questions of a row.
    questions: usize,
}

/// What a call read.
pub(crate) struct Read<'r> {
    /// Its results: `predictions` `[B M]`, `logits` `[B M, V]`, and gates.
    pub(crate) session: &'r Session,
    /// Whether it held pictures, and with them all that gates pool.
    pub(crate) gates: bool,
    /// By question of the batch: which row of the results is its next token, where its prompt was read to its end.
    pub(crate) ended: Vec<Option<usize>>,
    /// Where prompts are scored: the states of what was read of the positions whose next tokens are predicted. There are no other results
    /// then but gates.
    pub(crate) scored: Option<Scored>,
}

/// States of positions whose next tokens are predicted.
pub(crate) struct Scored {
    /// `[n, D]`.
    states: Vec<f32>,
    /// D.
    width: usize,
    /// The question of each, and which of its targets it is.
    of: Vec<(usize, usize)>,
}

impl Scored {
    /// At most so many of them at once, with their states.
    pub(crate) fn pieces(&self, most: usize) -> impl Iterator<Item = (&[(usize, usize)], &[f32])> {
        self.of.chunks(most).zip(self.states.chunks(most * self.width))
    }
}

impl Reading {
    /// Looks at the pictures of a batch, whose row `b` goes on with `slots[b]`; rows without a question may name any.
    pub(crate) fn begin(
        phases: &mut Phases,
        batch: &PackedBatch,
        encoding: Encoding,
        slots: Vec<usize>,
    ) -> Result<Self, ExperimentError> {
        let seen = phases.see(batch, encoding)?;
        let kept: Vec<Vec<usize>> = (0..batch.plan().batch_size).map(|row| prompt(batch, row)).collect();
        let lengths: Vec<usize> = kept.iter().map(Vec::len).collect();
        let pictures = pictures(batch, &kept);
        let calls = phases.calls(&lengths, &pictures)?;
        let questions = batch.questions().iter().map(number).max().unwrap_or_default() + 1;
        let end = |question: &PackedQuestion| {
            let behind = question.start + question.prompt_len;
            vec![kept[question.row].partition_point(|&position| position < behind).saturating_sub(1)]
        };
        let targets = batch.questions().iter().map(end).collect();
        Ok(Self { seen, targets, scores: false, kept, pictures, calls, next: 0, slots, questions })
    }

    /// The same, where by question the next tokens of these positions of its row are predicted.
    pub(crate) fn scoring(self, batch: &PackedBatch, positions: &[Vec<usize>]) -> Self {
        let of = |(question, positions): (&PackedQuestion, &Vec<usize>)| {
            let kept = &self.kept[question.row];
            positions.iter().filter_map(|position| kept.binary_search(position).ok()).collect()
        };
        let targets = batch.questions().iter().zip(positions).map(of).collect();
        Self { targets, scores: true, ..self }
    }

    /// Positions of every row.
    pub(crate) fn lengths(&self) -> Vec<usize> {
        self.kept.iter().map(Vec::len).collect()
    }

    /// Whether all was read.
    pub(crate) fn is_done(&self) -> bool {
        self.next >= self.calls.len()
    }

    /// Reads with the next call; none where all was read.
    pub(crate) fn read<'p>(
        &mut self,
        phases: &'p mut Phases,
        batch: &PackedBatch,
        pools: &Pools,
    ) -> Result<Option<Read<'p>>, ExperimentError> {
        let Some(spans) = self.calls.get(self.next) else { return Ok(None) };
        let longest = spans.iter().map(ExactSizeIterator::len).max().unwrap_or_default();
        // Where pictures take no positions, the first call reads them.
        let shows = |(span, of): (&Range<usize>, &Range<usize>)| span.start < of.end;
        let picture = self.next == 0 || spans.iter().zip(&self.pictures).any(shows);
        let plan = batch.plan();
        let views = plan.views.map(|views| ViewShape { views, tokens: plan.visual_tokens });
        let questions = (!self.scores).then_some(self.questions);
        let ((tokens, questions), session) =
            phases.prefill(plan.batch_size, longest, questions, picture, views)?;
        let part = Part { kept: &self.kept, spans, tokens, slots: &self.slots };
        load_prompts(session, batch, pools, &part, &self.seen)?;
        if let Some(questions) = questions {
            session.write(inputs::TARGET_INDEX, &self.last(batch, spans, questions))?;
        }
        session.run()?;
        let scored = if self.scores { Some(self.states(batch, spans, tokens, session)?) } else { None };
        // A chunk with a picture holds all of what its gates pool; others have no gates.
        let gates = spans.iter().zip(&self.pictures).any(|(span, of)| span.contains(&of.start));
        let ended = batch.questions().iter().zip(&self.targets).map(|(question, targets)| {
            let here = targets.last().is_some_and(|last| spans[question.row].contains(last));
            Some(question.row * questions.filter(|_| here)? + number(question))
        });
        let ended = ended.collect();
        self.next += 1;
        Ok(Some(Read { session, gates, ended, scored }))
    }

    /// Of every question its last target among the positions of a call, `[B, M]`; 0 where that is in another call.
    fn last(&self, batch: &PackedBatch, spans: &[Range<usize>], questions: usize) -> Vec<i32> {
        let mut last = vec![0; spans.len() * questions];
        for (question, targets) in batch.questions().iter().zip(&self.targets) {
            let span = &spans[question.row];
            if let Some(at) = targets.last().filter(|at| span.contains(at)) {
                last[question.row * questions + number(question)] = (at - span.start) as i32;
            }
        }
        last
    }

    /// The states of the targets among the `tokens` positions of every row of a call.
    fn states(
        &self,
        batch: &PackedBatch,
        spans: &[Range<usize>],
        tokens: usize,
        session: &Session,
    ) -> Result<Scored, RunError> {
        let (width, all) =
            (session.result_type(inputs::HIDDEN)?.last(), session.read::<f32>(inputs::HIDDEN)?);
        let (mut states, mut of) = (Vec::new(), Vec::new());
        for (number, (question, targets)) in batch.questions().iter().zip(&self.targets).enumerate() {
            let span = &spans[question.row];
            for (target, at) in targets.iter().enumerate().filter(|(_, at)| span.contains(at)) {
                let row = question.row * tokens + at - span.start;
                states.extend_from_slice(&all[row * width..(row + 1) * width]);
                of.push((number, target));
            }
        }
        Ok(Scored { states, width, of })
    }
}

/// Which of its row's questions it is.
fn number(question: &PackedQuestion) -> usize {
    question.segment.max(1) as usize - 1
}

/// The positions of a row that are read before anything is generated: pictures, what is before them, questions, and what is given of answers,
/// without the room that is kept for the rest of these.
fn prompt(batch: &PackedBatch, row: usize) -> Vec<usize> {
    let length = batch.plan().sequence_len;
    let mut read: Vec<bool> =
        batch.prompt_mask_bt[row * length..(row + 1) * length].iter().map(|&mask| mask != 0.0).collect();
    for question in batch.questions().iter().filter(|question| question.row == row) {
        read[question.start..question.start + question.prompt_len].fill(true);
    }
    (0..length).filter(|&position| read[position]).collect()
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

/// What a call reads of prompts.
struct Part<'p> {
    /// The positions of every row that are prompt.
    kept: &'p [Vec<usize>],
    /// Which of these are read now.
    spans: &'p [Range<usize>],
    /// The room that there is for positions of a row.
    tokens: usize,
    /// The sequence of the cache that every row goes on with.
    slots: &'p [usize],
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

/// Writes a part of the prompts of a batch.
fn load_prompts(
    session: &mut Session,
    batch: &PackedBatch,
    pools: &Pools,
    part: &Part<'_>,
    seen: &Seen,
) -> Result<(), RunError> {
    let Part { spans, slots, .. } = *part;
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
        let kept = |(&slot, span): (&usize, &Range<usize>)| if span.is_empty() { -1 } else { slot as i32 };
        let slots: Vec<i32> = slots.iter().zip(spans).map(kept).collect();
        session.write(inputs::PICTURE_SLOT, &slots)?;
    }
    let [starts, counts] = [|span: &Range<usize>| span.start, |span: &Range<usize>| span.len()]
        .map(|of| spans.iter().map(of).collect::<Vec<usize>>());
    place(session, slots, &starts, &counts)
}

/// Says which slot every row goes on with, what that holds, and how much is added.
pub(crate) fn place(
    session: &mut Session,
    slots: &[usize],
    held: &[usize],
    added: &[usize],
) -> Result<(), RunError> {
    let whole = |counts: &[usize]| -> Vec<i32> { counts.iter().map(|&count| count as i32).collect() };
    session.write(inputs::SLOT, &whole(slots))?;
    session.write(inputs::START, &whole(held))?;
    session.write(inputs::COUNT, &whole(added))
}
