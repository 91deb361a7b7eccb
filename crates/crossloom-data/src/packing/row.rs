//! Writing one row: the picture's positions, then question after question.

use super::{IMAGE_SEGMENT, PackedBatch, PackedQuestion};

/// How a question's answer is laid down.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer<'a> {
    /// Its tokens are in the sequence, and they and `<eos>` are trained.
    Given(&'a [i32]),
    /// It is absent; room is kept for generated tokens.
    Awaited,
}

/// The end of what a row holds so far.
#[derive(Debug)]
pub(super) struct RowWriter<'a> {
    batch: &'a mut PackedBatch,
    row: usize,
    next_position: usize,
    next_slot: usize,
    segment: i32,
}

impl<'a> RowWriter<'a> {
    /// Begins a cleared row with what stands in front of the picture, and the picture's positions.
    pub(super) fn begin(batch: &'a mut PackedBatch, row: usize) -> Self {
        let plan = batch.plan();
        let (visual, image_token) = (plan.visual_tokens, plan.special.image);
        let each_its_own = plan.picture_positions.is_none();
        let (first, index, lead) = (row * plan.sequence_len, row * visual, plan.lead.len());
        for position in 0..plan.shared_positions() {
            let at = first + position;
            let (token, turn) = match batch.plan().lead.get(position) {
                Some(&token) => (token, position),
                None => (image_token, if each_its_own { position } else { lead }),
            };
            batch.tokens_bt[at] = token;
            batch.positions_bt[at] = turn as i32;
            batch.segments_bt[at] = IMAGE_SEGMENT;
            batch.prompt_mask_bt[at] = 1.0;
        }
        for token in 0..visual {
            batch.image_index_bn[index + token] = (lead + token) as i32;
        }
        Self { batch, row, next_position: lead + visual, next_slot: 0, segment: 0 }
    }

    /// Adds a question, if there is room for it; whether there was.
    pub(super) fn push(&mut self, question: &[i32], answer: Answer<'_>, example: Option<usize>) -> bool {
        let plan = self.batch.plan();
        let (length, first_text, targets) = (plan.sequence_len, plan.first_text_position(), plan.targets);
        let (marker, eos) = (plan.special.answer, plan.special.eos);
        let (reserved, slots) = match answer {
            Answer::Given(answer) => (answer.len(), answer.len() + 1),
            Answer::Awaited => (plan.max_new_tokens.saturating_sub(1), 1),
        };
        let full = self.segment as usize >= plan.questions_per_sequence;
        let end = self.next_position + question.len() + 1 + reserved;
        if full || end > length || self.next_slot + slots > targets {
            return false;
        }
        self.segment += 1;
        let placed = PackedQuestion {
            row: self.row,
            segment: self.segment,
            example,
            start: self.next_position,
            prompt_len: question.len() + 1,
            answer_len: 0,
            first_slot: self.next_slot,
            slots,
            finished: matches!(answer, Answer::Given(_)),
            ended_by_eos: matches!(answer, Answer::Given(_)),
        };
        let prompt = question.iter().copied().chain([marker]);
        let given = match answer {
            Answer::Given(answer) => answer,
            Answer::Awaited => &[],
        };
        let row_start = self.row * length;
        let tokens = prompt.chain(given.iter().copied()).enumerate();
        for (offset, token) in tokens {
            let at = row_start + placed.start + offset;
            self.batch.tokens_bt[at] = token;
            self.batch.positions_bt[at] = (first_text + offset) as i32;
            self.batch.segments_bt[at] = self.segment;
            self.batch.prompt_mask_bt[at] = f32::from(u8::from(offset < placed.prompt_len));
        }
        // The slot before an answer token predicts it; the last slot predicts the end.
        let expected = given.iter().copied().chain([eos]).take(slots);
        for (step, token) in expected.enumerate() {
            let slot = self.row * targets + placed.first_slot + step;
            self.batch.target_index_bm[slot] = (placed.start + placed.prompt_len - 1 + step) as i32;
            if placed.finished {
                self.batch.targets_bm[slot] = token;
            }
        }
        self.batch.questions.push(PackedQuestion { answer_len: given.len(), ..placed });
        self.next_position = end;
        self.next_slot += slots;
        true
    }

    /// How many questions the row holds.
    pub(super) fn questions(&self) -> usize {
        self.segment as usize
    }
}
