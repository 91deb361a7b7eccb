//! Prompts that belong to no data set: a person's own picture and questions.

use super::pixels::{self, PixelWriter};
use super::row::{Answer, RowWriter};
use super::{ImageMode, PackedBatch, PackingError};
use crate::image::{Image, Normalization};

impl PackedBatch {
    /// Fills the batch with one picture per row and its encoded questions, answers awaited; further rows only fill up.
    /// The pictures must have the plan's size ([`Image::resized`]). Answers then come from
    /// [`PackedBatch::append_generated`].
    ///
    /// # Errors
    /// When there are more pictures or questions than the plan holds, a picture has another size, a token is outside the
    /// vocabulary, or the questions of a picture are too long together. The batch is unchanged then.
    pub fn fill_prompts(
        &mut self,
        prompts: &[(&Image, Vec<Vec<i32>>)],
        normalization: &Normalization,
    ) -> Result<(), PackingError> {
        let plan = self.plan().clone();
        if prompts.len() > plan.batch_size {
            return Err(PackingError::TooManyRows { given: prompts.len(), limit: plan.batch_size });
        }
        let writer = PixelWriter::new(normalization, ImageMode::Shown)?;
        for (image, questions) in prompts {
            pixels::check_size(&plan, image.width(), image.height())?;
            // Each prompt is read through one slot.
            let limit = plan.questions_per_sequence.min(plan.targets);
            if questions.len() > limit {
                return Err(PackingError::TooManyQuestions { given: questions.len(), limit });
            }
            let mut needed = 0_usize;
            for (index, question) in questions.iter().enumerate() {
                check_tokens(index, question, plan.vocab_size)?;
                needed = needed.saturating_add(plan.question_positions(question.len(), 0));
                if needed > plan.text_positions() {
                    let what = format!("the prompt up to question {}", index + 1);
                    let others = questions.len() - index - 1;
                    let available = plan.text_positions();
                    return Err(PackingError::QuestionTooLong { what, needed, available, others });
                }
            }
        }
        self.clear(true);
        for row in 0..plan.batch_size {
            let prompt = prompts.get(row);
            writer.write(self, row, prompt.map(|(image, _)| image.rgb()))?;
            self.real_rows += usize::from(prompt.is_some());
            let mut row = RowWriter::begin(self, row);
            for question in prompt.map(|(_, questions)| questions.as_slice()).unwrap_or_default() {
                row.push(question, Answer::Awaited, None);
            }
        }
        Ok(())
    }
}

fn check_tokens(question: usize, tokens: &[i32], vocab_size: usize) -> Result<(), PackingError> {
    let known = |token: i32| usize::try_from(token).is_ok_and(|token| token < vocab_size);
    match tokens.iter().copied().find(|&token| !known(token)) {
        Some(token) => Err(PackingError::TokenRange { question, token, vocab_size }),
        None => Ok(()),
    }
}
