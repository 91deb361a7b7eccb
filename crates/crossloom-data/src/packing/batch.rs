//! The arrays that a step reads.

use std::ops::Range;

use super::{IGNORED_TARGET, PADDING_SEGMENT, PackingError, PackingPlan};

/// Where one question lies in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedQuestion {
    /// Its sequence, from 0 to below the batch size.
    pub row: usize,
    /// Its number in the row, from 1, as in `segments_bt`.
    pub segment: i32,
    /// Its number in the split; `None` for a prompt that belongs to no data set.
    pub example: Option<usize>,
    /// Its first position.
    pub start: usize,
    /// How many positions the question and `<answer>` take, and what is given of an answer that is read with them; what is generated
    /// begins behind them.
    pub prompt_len: usize,
    /// How many answer tokens were given or generated so far, `<eos>` not counted.
    pub answer_len: usize,
    /// Its first column of `target_index_bm`.
    pub first_slot: usize,
    /// How many columns it has: one per answer token and one for `<eos>`, or a single one for a prompt.
    pub slots: usize,
    /// A prompt that awaits no more tokens, after `<eos>` or at the longest length; always true where the answer was given.
    pub finished: bool,
    /// Whether `<eos>` ended the answer; an answer that was cut at the longest length has not ended. Always true where it
    /// was given.
    pub ended_by_eos: bool,
}

/// A batch of static shapes, row-major and contiguous, with notes on what it holds. See the module page for the layout.
#[derive(Debug, Clone, PartialEq)]
pub struct PackedBatch {
    /// Normalised pictures, f32 `[B, 3, H, W]`; where views are counted, f32 `[V, 3, H, W]`, zeros in those that are not used.
    pub pixels_bchw: Vec<f32>,
    /// Token ids, i32 `[B, T]`; `<image>` at the picture's positions.
    pub tokens_bt: Vec<i32>,
    /// Rotary positions, i32 `[B, T]`: 0 to N-1 in the picture, or 0 where it takes fewer positions than tokens; every question
    /// from the next on, 0 in padding.
    pub positions_bt: Vec<i32>,
    /// i32 `[B, T]`: 0 in the picture and in front of it, 1 and up in the questions, -1 in padding.
    pub segments_bt: Vec<i32>,
    /// The positions of the visual tokens, i32 `[B, N]`, -1 for one without a position.
    pub image_index_bn: Vec<i32>,
    /// Where views are counted, i32 `[B, N, 4]`: the rows of features that a visual token is made of, `view * n + token` of views of `n`
    /// tokens each; row `V * n` is the learned end of a row of patches. 0 in an unused part. Empty where views are not counted.
    pub visual_rows_bn4: Vec<i32>,
    /// f32 `[B, N, 4]`: the weight of each of these rows, 0 in an unused part. Empty where views are not counted.
    pub visual_weights_bn4: Vec<f32>,
    /// The positions whose next token is predicted, i32 `[B, M]`; 0 in an unused slot.
    pub target_index_bm: Vec<i32>,
    /// The token to predict there, i32 `[B, M]`; -1 is not trained. In prompts all are -1: the slots are only read.
    pub targets_bm: Vec<i32>,
    /// f32 `[B, T]`: 1 in the picture and the questions with their `<answer>`, 0 in answers and padding.
    pub prompt_mask_bt: Vec<f32>,
    /// f32 `[B, E]`: the vector of a row's question, where something depends on it; empty until [`PackedBatch::lay_vectors`].
    pub vectors_be: Vec<f32>,
    pub(super) questions: Vec<PackedQuestion>,
    /// The picture of each row; `None` for a row that only fills the batch, and for a picture outside the store.
    pub(super) row_images: Vec<Option<usize>>,
    pub(crate) real_rows: usize,
    pub(super) prompts: bool,
    /// `[B * questions_per_sequence, max_new_tokens]`, in the order of `questions`.
    pub(super) generated: Vec<i32>,
    plan: PackingPlan,
}

impl PackedBatch {
    /// An empty batch with every array at its final size: filling it never allocates.
    pub fn new(plan: &PackingPlan) -> Self {
        let rows = plan.batch_size;
        let positions = rows * plan.sequence_len;
        let questions = rows * plan.questions_per_sequence;
        Self {
            pixels_bchw: vec![0.0; plan.pixel_shape().iter().product()],
            tokens_bt: vec![plan.special.pad; positions],
            positions_bt: vec![0; positions],
            segments_bt: vec![PADDING_SEGMENT; positions],
            image_index_bn: vec![-1; rows * plan.visual_tokens],
            visual_rows_bn4: vec![0; plan.visual_parts()],
            visual_weights_bn4: vec![0.0; plan.visual_parts()],
            target_index_bm: vec![0; rows * plan.targets],
            targets_bm: vec![IGNORED_TARGET; rows * plan.targets],
            prompt_mask_bt: vec![0.0; positions],
            vectors_be: Vec::with_capacity(rows * plan.vector_width),
            questions: Vec::with_capacity(questions),
            row_images: vec![None; rows],
            real_rows: 0,
            prompts: false,
            generated: vec![plan.special.pad; questions * plan.max_new_tokens],
            plan: plan.clone(),
        }
    }

    /// The shapes it was made for.
    pub fn plan(&self) -> &PackingPlan {
        &self.plan
    }

    /// The questions it holds, row by row.
    pub fn questions(&self) -> &[PackedQuestion] {
        &self.questions
    }

    /// How many rows hold data; those behind them only fill the batch: a picture of zeros without a question.
    pub fn real_rows(&self) -> usize {
        self.real_rows
    }

    /// The place of a row's picture in its store; `None` in a filling row and for a picture of no store.
    pub fn image_of_row(&self, row: usize) -> Option<usize> {
        self.row_images.get(row).copied().flatten()
    }

    /// How many targets are trained.
    pub fn trained_targets(&self) -> usize {
        self.targets_bm.iter().filter(|&&target| target != IGNORED_TARGET).count()
    }

    /// The mean of `values_bm [B, M]`, one of each target, over the trained targets of a row, or of one of its segments; `None` where it has
    /// none. A target belongs to the segment that it is predicted in.
    pub fn mean_over_targets(&self, values_bm: &[f32], row: usize, segment: Option<i32>) -> Option<f32> {
        let (length, targets) = (self.plan.sequence_len, self.plan.targets);
        let of_row = |count: usize| row * count..(row + 1) * count;
        let (segments, slots) = (self.segments_bt.get(of_row(length))?, of_row(targets));
        let wanted = self.targets_bm.get(slots.clone())?.iter().zip(self.target_index_bm.get(slots.clone())?);
        let (mut sum, mut count) = (0.0, 0_u32);
        for ((&target, &at), &value) in wanted.zip(values_bm.get(slots)?) {
            let own = segment.is_none_or(|segment| segments.get(at as usize) == Some(&segment));
            if target != IGNORED_TARGET && own {
                sum += f64::from(value);
                count += 1;
            }
        }
        (count > 0).then(|| (sum / f64::from(count)) as f32)
    }

    /// Gives every row the vector of its first question; a row without one, or without that, has zeros. Filling the batch takes
    /// them away. Never allocates.
    ///
    /// # Errors
    /// A vector of another width than the plan's.
    pub fn lay_vectors<'v>(
        &mut self,
        of: impl Fn(&PackedQuestion) -> Option<&'v [f32]>,
    ) -> Result<(), PackingError> {
        let width = self.plan.vector_width;
        reset(&mut self.vectors_be, self.plan.batch_size * width, 0.0);
        // From the last, so that the first stays.
        for question in self.questions.iter().rev() {
            let Some(vector) = of(question) else { continue };
            if vector.len() != width {
                let (value, rule) = (width.to_string(), "the width of the vectors of questions");
                return Err(PackingError::Option { key: "vector_width", value, rule });
            }
            self.vectors_be[question.row * width..][..width].copy_from_slice(vector);
        }
        Ok(())
    }

    /// Notes that a prompt, with what is given of its answer, ends with these positions of a row, and that what follows is awaited.
    pub(crate) fn ask(&mut self, row: usize, segment: i32, place: Range<usize>) {
        self.questions.push(PackedQuestion {
            row,
            segment,
            example: None,
            start: place.start,
            prompt_len: place.len(),
            answer_len: 0,
            first_slot: 0,
            slots: 1,
            finished: false,
            ended_by_eos: false,
        });
    }

    /// Everything but the pixels, back to padding. The arrays keep their memory; one whose length was changed from
    /// outside gets its planned length again.
    pub(crate) fn clear(&mut self, prompts: bool) {
        let plan = &self.plan;
        let (rows, pad) = (plan.batch_size, plan.special.pad);
        reset(&mut self.tokens_bt, rows * plan.sequence_len, pad);
        reset(&mut self.positions_bt, rows * plan.sequence_len, 0);
        reset(&mut self.segments_bt, rows * plan.sequence_len, PADDING_SEGMENT);
        reset(&mut self.image_index_bn, rows * plan.visual_tokens, -1);
        reset(&mut self.visual_rows_bn4, plan.visual_parts(), 0);
        reset(&mut self.visual_weights_bn4, plan.visual_parts(), 0.0);
        reset(&mut self.target_index_bm, rows * plan.targets, 0);
        reset(&mut self.targets_bm, rows * plan.targets, IGNORED_TARGET);
        reset(&mut self.prompt_mask_bt, rows * plan.sequence_len, 0.0);
        self.vectors_be.clear();
        self.pixels_bchw.resize(plan.pixel_shape().iter().product(), 0.0);
        self.generated.fill(pad);
        self.row_images.fill(None);
        self.questions.clear();
        self.real_rows = 0;
        self.prompts = prompts;
    }
}

fn reset<T: Copy>(array: &mut Vec<T>, len: usize, value: T) {
    array.clear();
    array.resize(len, value);
}
