//! Several questions of one picture in one sequence, with static shapes.
//!
//! A row of a batch is `[N image positions][question 1, <answer>, answer 1][question 2 …]… padding`, `T` positions long.
//! A model's own chat format may put a text in front of the picture, which is the same in all rows, and belongs to the picture's segment.
//! All questions see the picture, none sees another: [`may_attend`] is the rule, `segments_bt` its data. Every question
//! restarts its positions at `N`, so that each looks as if it were alone with the picture.
//!
//! What is predicted: from `<answer>` the first token of the answer, from each answer token the next one, and from the
//! last one `<eos>`. `<eos>` is only ever a target: nothing would be predicted from it, so it takes no position.
//!
//! - [`EncodedSplit`]: a split as token ids, which can hold pictures out. [`PackingPlan`]: the static shapes. [`PackedBatch`]: the arrays.
//! - [`TrainingPacker`]: seeded, endless, resumable; per picture a seeded draw of its questions.
//! - [`EvaluationPacker`]: every question exactly once, with its answer or as a prompt; [`QuestionRow`]: which of them share a row.
//! - [`PackedBatch::append_generated`]: takes the next token of every question of a batch; who computes them is not its concern.

mod attention;
mod batch;
mod draw;
mod encode;
mod error;
mod evaluation;
mod generation;
mod hold_out;
mod pixels;
mod plan;
mod prompts;
mod row;
mod training;

pub use attention::may_attend;
pub use batch::{PackedBatch, PackedQuestion};
pub use encode::EncodedSplit;
pub use error::PackingError;
pub use evaluation::{AnswerMode, EvaluationPacker, QuestionRow};
pub use pixels::ImageMode;
pub(crate) use plan::LENGTH_MULTIPLE;
pub use plan::{PackingOptions, PackingPlan, PromptSizes, VISUAL_PARTS};
pub use training::{TrainingOptions, TrainingPacker};

/// A target that is not trained.
pub const IGNORED_TARGET: i32 = -1;
/// The segment of padding.
pub const PADDING_SEGMENT: i32 = -1;
/// The segment of the picture and of what stands in front of it, which every question sees.
pub const IMAGE_SEGMENT: i32 = 0;

#[cfg(test)]
mod tests;
