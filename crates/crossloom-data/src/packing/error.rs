//! What can be wrong between data and static shapes.

use crate::image::ImageError;
use crate::sampler::SamplerError;

/// Why questions cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackingError {
    /// An option out of range.
    #[error("packing: {key} is {value}; it must be {rule}")]
    Option {
        /// The option.
        key: &'static str,
        /// As it was set.
        value: String,
        /// What it must be.
        rule: &'static str,
    },
    /// A plan for nothing.
    #[error("packing: a plan needs at least one split with at least one question")]
    NoData,
    /// Splits that were encoded by different tokenizers.
    #[error("packing: the splits were encoded with different vocabularies ({first} and {other} tokens)")]
    Vocabulary {
        /// Tokens of the first.
        first: usize,
        /// Tokens of the other.
        other: usize,
    },
    /// The shapes of the plan are too large.
    #[error("packing: the plan's {array} would have {elements} elements; the limit is {limit}")]
    TooLarge {
        /// Its name in a batch, such as `tokens_bt`.
        array: &'static str,
        /// How many elements.
        elements: u128,
        /// The most elements an array may have.
        limit: u128,
    },
    /// A question does not fit a sequence.
    #[error(
        "packing: {what} needs {needed} positions after the picture; the sequence has {available}{}",
        if *others == 0 { String::new() } else { format!(" (and {others} more do not fit)") }
    )]
    QuestionTooLong {
        /// Which question.
        what: String,
        /// Positions it needs, room for its answer included.
        needed: usize,
        /// Positions there are.
        available: usize,
        /// How many other questions do not fit either.
        others: usize,
    },
    /// More questions than a sequence holds.
    #[error("packing: {given} questions about one picture; a sequence holds {limit}")]
    TooManyQuestions {
        /// How many were given.
        given: usize,
        /// How many fit.
        limit: usize,
    },
    /// More pictures than a batch has rows.
    #[error("packing: {given} pictures; a batch has {limit} rows")]
    TooManyRows {
        /// How many were given.
        given: usize,
        /// How many fit.
        limit: usize,
    },
    /// Questions that belong to no picture of the store.
    #[error("packing: the questions are about {questions} pictures, the store has {pictures}")]
    Pictures {
        /// Pictures the questions know.
        questions: usize,
        /// Pictures there are.
        pictures: usize,
    },
    /// Pictures of another size than planned.
    #[error("packing: the pictures have {width}x{height} pixels; the plan is for {plan_width}x{plan_height}")]
    ImageSize {
        /// Pixels per row.
        width: u32,
        /// Rows.
        height: u32,
        /// The plan's pixels per row.
        plan_width: u32,
        /// The plan's rows.
        plan_height: u32,
    },
    /// A batch that was made for another plan.
    #[error("packing: the batch was made for another plan than the one that fills it")]
    ForeignBatch,
    /// A batch that does not exist.
    #[error("packing: there is no batch {index}; the evaluation has {batches}")]
    NoSuchBatch {
        /// The number asked for, from 0.
        index: usize,
        /// How many there are.
        batches: usize,
    },
    /// Tokens were given to a batch that holds answers already.
    #[error("packing: this batch was filled with answers; only prompts can be continued")]
    NotPrompts,
    /// The wrong number of generated tokens.
    #[error("packing: {given} generated tokens for {questions} questions")]
    GeneratedCount {
        /// How many were given.
        given: usize,
        /// How many questions the batch has.
        questions: usize,
    },
    /// A token outside the vocabulary.
    #[error("packing: token {token} of question {question} is outside the vocabulary of {vocab_size}")]
    TokenRange {
        /// The place in the batch's list of questions.
        question: usize,
        /// The id that was generated.
        token: i32,
        /// Tokens of the vocabulary.
        vocab_size: usize,
    },
    /// A picture or a normalisation is unusable.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The order of training cannot be made or resumed.
    #[error(transparent)]
    Sampler(#[from] SamplerError),
}
