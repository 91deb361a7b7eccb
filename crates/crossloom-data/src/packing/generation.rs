//! Generated tokens: kept per question, and laid into the sequence, so that the batch is always what one forward pass over
//! prompts and answers so far would read.

use super::{PackedBatch, PackingError};

impl PackedBatch {
    /// Adds the predicted token of every question, in the order of [`PackedBatch::questions`], and says how many questions
    /// are still unfinished. `<eos>` ends an answer and finishes its question; its `max_new_tokens`-th token (`<eos>`
    /// counts) finishes it without having ended it. Tokens for finished questions are not looked at.
    ///
    /// The token for question `q` is predicted at row `q.row`, slot `q.first_slot` of `target_index_bm`; this call moves
    /// that slot to the added token.
    ///
    /// # Errors
    /// When the batch holds given answers, the count is wrong or a token is negative; the batch is unchanged then. A model may
    /// predict more tokens than the tokenizer has words, as pretrained ones do.
    pub fn append_generated(&mut self, next: &[i32]) -> Result<usize, PackingError> {
        if !self.prompts {
            return Err(PackingError::NotPrompts);
        }
        if next.len() != self.questions.len() {
            return Err(PackingError::GeneratedCount { given: next.len(), questions: self.questions.len() });
        }
        let vocab_size = self.plan().vocab_size;
        for (question, (&token, placed)) in next.iter().zip(&self.questions).enumerate() {
            if !placed.finished && token < 0 {
                return Err(PackingError::TokenRange { question, token, vocab_size });
            }
        }
        let mut unfinished = 0;
        for (question, &token) in next.iter().enumerate() {
            if !self.questions[question].finished {
                self.append_one(question, token);
                unfinished += usize::from(!self.questions[question].finished);
            }
        }
        Ok(unfinished)
    }

    /// How many questions await a token.
    pub fn unfinished(&self) -> usize {
        self.questions.iter().filter(|question| !question.finished).count()
    }

    /// The tokens generated for a question, by its place in [`PackedBatch::questions`], without `<eos>`; none where
    /// the answers were given.
    pub fn generated(&self, question: usize) -> &[i32] {
        let Some(placed) = self.questions.get(question).filter(|_| self.prompts) else { return &[] };
        let first = question * self.plan().max_new_tokens;
        self.generated.get(first..first + placed.answer_len).unwrap_or_default()
    }

    fn append_one(&mut self, question: usize, token: i32) {
        let plan = self.plan();
        let (limit, length, targets) = (plan.max_new_tokens, plan.sequence_len, plan.targets);
        let (first_text, eos) = (plan.first_text_position(), plan.special.eos);
        let mut placed = self.questions[question];
        if token == eos {
            (placed.finished, placed.ended_by_eos) = (true, true);
            self.questions[question] = placed;
            return;
        }
        self.generated[question * limit + placed.answer_len] = token;
        let offset = placed.prompt_len + placed.answer_len;
        placed.answer_len += 1;
        placed.finished = placed.answer_len == limit;
        // The last token is kept, but nothing is predicted from it, so it has no position.
        if !placed.finished {
            let at = placed.row * length + placed.start + offset;
            self.tokens_bt[at] = token;
            self.positions_bt[at] = (first_text + offset) as i32;
            self.segments_bt[at] = placed.segment;
            self.target_index_bm[placed.row * targets + placed.first_slot] = (placed.start + offset) as i32;
        }
        self.questions[question] = placed;
    }
}
