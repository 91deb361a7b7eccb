//! The static shapes of every batch of a run.

use serde::{Deserialize, Serialize};

use super::{EncodedSplit, PackingError};
use crate::datasets::ImageStore;
use crate::image::CHANNELS;
use crate::tokenizer::SpecialTokens;

/// No array of a batch may have more elements than this.
const MAX_ELEMENTS: u128 = 1 << 31;
/// Sequence lengths are multiples of this, which suits vector units.
pub(crate) const LENGTH_MULTIPLE: usize = 8;

/// What the shapes are computed from, beside the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackingOptions {
    /// Rows per batch, `B` (default 16).
    pub batch_size: usize,
    /// Positions of the picture in a sequence, `N` (default 64).
    pub visual_tokens: usize,
    /// Rotary positions that a picture takes, where all its tokens begin at the first (default: each has one of its own).
    pub picture_positions: Option<usize>,
    /// At most this many questions in one sequence (default 8).
    pub questions_per_sequence: usize,
    /// Pixels per row of a picture.
    pub image_width: u32,
    /// Rows of a picture.
    pub image_height: u32,
    /// Positions for text: what stands in front of the picture, questions and answers. `None` takes what the longest questions of the data need, so that every draw
    /// fits; a smaller number saves work, and questions that find no room wait for another epoch or row.
    pub text_positions: Option<usize>,
    /// The longest answer that can be generated, `<eos>` included. `None` takes the longest answer of the data.
    pub max_new_tokens: Option<usize>,
    /// Predictions that are read per question, the end of its answer included. `None` takes what the longest answer of the data needs.
    pub answer_targets: Option<usize>,
    /// Width of the vectors of questions, `E`; 0 where nothing depends on them (default).
    pub vector_width: usize,
}

impl PackingOptions {
    /// The defaults, for the pictures of a store.
    pub fn for_images(images: &ImageStore) -> Self {
        Self {
            batch_size: 16,
            visual_tokens: 64,
            picture_positions: None,
            questions_per_sequence: 8,
            image_width: images.width(),
            image_height: images.height(),
            text_positions: None,
            max_new_tokens: None,
            answer_targets: None,
            vector_width: 0,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde asks for")]
fn is_zero(width: &usize) -> bool {
    *width == 0
}

/// Rows of features that a visual token is at most made of: those around a point between patches.
pub const VISUAL_PARTS: usize = 4;

/// The static shapes of a run: the same for training, evaluation and generation, so that one compiled graph serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PackingPlan {
    /// Rows of a batch, `B`.
    pub batch_size: usize,
    /// Positions of a row, `T`: `N` plus the text, rounded up to a multiple of 8.
    pub sequence_len: usize,
    /// What every row begins with, in front of its picture.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lead: Vec<i32>,
    /// Positions of the picture, `N`; where `views` are counted, of all pictures of a row.
    pub visual_tokens: usize,
    /// Views of a batch, `V`: square images that the vision encoder sees, of which each row has as many as its pictures and their tiles
    /// need. None where view `b` is the one picture of row `b`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub views: Option<usize>,
    /// Rotary positions that the picture takes, all of whose tokens have the first of them; none where each has one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture_positions: Option<usize>,
    /// Predictions read per row, `M`.
    pub targets: usize,
    /// Pixels per row of a picture, `W`.
    pub image_width: u32,
    /// Rows of a picture, `H`.
    pub image_height: u32,
    /// The most questions in a row.
    pub questions_per_sequence: usize,
    /// The most tokens generated per question, `<eos>` included.
    pub max_new_tokens: usize,
    /// Width of the vectors of questions, `E`; 0 where nothing depends on them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub vector_width: usize,
    /// Tokens of the vocabulary; every id is below it.
    pub vocab_size: usize,
    /// Ids with a meaning of their own.
    pub special: SpecialTokens,
}

/// Sizes of batches of prompts, each in a row of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromptSizes {
    /// Prompts of a batch.
    pub rows: usize,
    /// Positions of a prompt, at the most.
    pub positions: usize,
    /// Visual tokens of a prompt, at the most.
    pub visual_tokens: usize,
    /// Views of a batch, where they are counted.
    pub views: Option<usize>,
    /// Rotary positions that a picture takes, where its tokens share the first of them.
    pub picture_positions: Option<usize>,
    /// Pixels along a side of a view.
    pub side: u32,
    /// Width of the vectors of questions; 0 where nothing depends on them.
    pub vector_width: usize,
    /// Tokens of the vocabulary.
    pub vocab_size: usize,
    /// Ids with a meaning of their own.
    pub special: SpecialTokens,
}

impl PackingPlan {
    /// Shapes of prompts whose answers are kept elsewhere.
    ///
    /// # Errors
    /// A size that is 0, no room for text, or an array that would be too large.
    pub fn of_prompts(sizes: PromptSizes) -> Result<Self, PackingError> {
        let plan = Self {
            batch_size: sizes.rows,
            sequence_len: sizes.positions,
            lead: Vec::new(),
            visual_tokens: sizes.visual_tokens,
            views: sizes.views,
            picture_positions: sizes.picture_positions,
            targets: 1,
            image_width: sizes.side,
            image_height: sizes.side,
            questions_per_sequence: 1,
            max_new_tokens: 1,
            vector_width: sizes.vector_width,
            vocab_size: sizes.vocab_size,
            special: sizes.special,
        };
        plan.check()?;
        Ok(plan)
    }

    /// The same shapes for so many rows, each with as many views.
    #[must_use]
    pub fn of_rows(&self, rows: usize) -> Self {
        let views = self.views.map(|views| views / self.batch_size.max(1) * rows);
        Self { batch_size: rows, views, ..self.clone() }
    }

    /// Shapes in which every question of `splits` fits a sequence, alone at least.
    ///
    /// # Errors
    /// When an option is 0, there is no question, the vocabularies differ, a question is longer than `text_positions`,
    /// or an array would be too large.
    pub fn new(splits: &[&EncodedSplit], options: &PackingOptions) -> Result<Self, PackingError> {
        let positive = [
            ("batch_size", options.batch_size),
            ("picture_positions", options.picture_positions.unwrap_or(1)),
            ("questions_per_sequence", options.questions_per_sequence),
            ("image_width", options.image_width as usize),
            ("image_height", options.image_height as usize),
            ("text_positions", options.text_positions.unwrap_or(1)),
            ("max_new_tokens", options.max_new_tokens.unwrap_or(1)),
        ];
        for (key, value) in positive {
            if value == 0 || value as u128 > MAX_ELEMENTS {
                return Err(PackingError::Option {
                    key,
                    value: value.to_string(),
                    rule: "from 1 to 2147483648",
                });
            }
        }
        if options.visual_tokens as u128 > MAX_ELEMENTS {
            let value = options.visual_tokens.to_string();
            return Err(PackingError::Option { key: "visual_tokens", value, rule: "from 0 to 2147483648" });
        }
        let Some(first) = splits.first() else { return Err(PackingError::NoData) };
        for split in splits {
            let of = |split: &EncodedSplit| (split.vocab_size(), split.special());
            if of(split) != of(first) || split.lead() != first.lead() {
                return Err(PackingError::Vocabulary {
                    first: first.vocab_size(),
                    other: split.vocab_size(),
                });
            }
        }
        let examples =
            || splits.iter().flat_map(|split| (0..split.len()).map(move |example| (*split, example)));
        let longest_answer = examples().map(|(split, example)| split.answer(example).len()).max();
        let longest_answer = longest_answer.ok_or(PackingError::NoData)?;
        let max_new_tokens = options.max_new_tokens.unwrap_or(longest_answer + 1);
        let answer_targets = options.answer_targets.unwrap_or(longest_answer + 1);
        if answer_targets <= longest_answer {
            let value = answer_targets.to_string();
            let rule = "at least 1 above the number of tokens of the longest answer";
            return Err(PackingError::Option { key: "answer_targets", value, rule });
        }
        let lead = first.lead().to_vec();

        let mut plan = Self {
            batch_size: options.batch_size,
            sequence_len: 0,
            lead,
            visual_tokens: options.visual_tokens,
            views: None,
            picture_positions: options.picture_positions,
            targets: options.questions_per_sequence.saturating_mul(answer_targets),
            image_width: options.image_width,
            image_height: options.image_height,
            questions_per_sequence: options.questions_per_sequence,
            max_new_tokens,
            vector_width: options.vector_width,
            vocab_size: first.vocab_size(),
            special: first.special(),
        };
        let needs = |split: &EncodedSplit, example| {
            plan.question_positions(split.question(example).len(), split.answer(example).len())
        };
        let longest = examples().map(|(split, example)| needs(split, example)).max().unwrap_or(1);
        let text = options.text_positions.unwrap_or_else(|| {
            plan.lead.len().saturating_add(longest.saturating_mul(options.questions_per_sequence))
        });
        let sequence_len = options.visual_tokens.saturating_add(text);
        let sequence_len = sequence_len.checked_next_multiple_of(LENGTH_MULTIPLE).unwrap_or(usize::MAX);
        let available = sequence_len.saturating_sub(plan.shared_positions());
        let mut too_long = examples().filter(|&(split, example)| needs(split, example) > available);
        if let Some((split, example)) = too_long.next() {
            let what = format!("question {example}");
            let needed = needs(split, example);
            return Err(PackingError::QuestionTooLong { what, needed, available, others: too_long.count() });
        }
        plan.sequence_len = sequence_len;
        plan.check_size()?;
        Ok(plan)
    }

    /// Refuses shapes that no data has, as a damaged file may hold them.
    ///
    /// # Errors
    /// A shape that is 0, no room for text, special tokens outside the vocabulary, or an array that would be too large.
    pub fn check(&self) -> Result<(), PackingError> {
        let wrong =
            |key, value: usize, rule| Err(PackingError::Option { key, value: value.to_string(), rule });
        for (key, value) in [
            ("batch_size", self.batch_size),
            ("views", self.views.unwrap_or(1)),
            ("picture_positions", self.picture_positions.unwrap_or(1)),
            ("targets", self.targets),
            ("image_width", self.image_width as usize),
            ("image_height", self.image_height as usize),
            ("questions_per_sequence", self.questions_per_sequence),
            ("max_new_tokens", self.max_new_tokens),
        ] {
            if value == 0 {
                return wrong(key, value, "above 0");
            }
        }
        if self.sequence_len <= self.shared_positions() {
            return wrong(
                "sequence_len",
                self.sequence_len,
                "above the number of visual tokens and those before",
            );
        }
        let SpecialTokens { pad, image, unk, eos, answer } = self.special;
        let known = |id: i32| usize::try_from(id).is_ok_and(|id| id < self.vocab_size);
        if ![pad, image, unk, eos, answer].iter().chain(&self.lead).copied().all(known) {
            return wrong("vocab_size", self.vocab_size, "above every special token");
        }
        self.check_size()
    }

    /// The shape of `pixels_bchw`: of as many images as there are views, or one of each row.
    pub fn pixel_shape(&self) -> [usize; 4] {
        [
            self.views.unwrap_or(self.batch_size),
            CHANNELS,
            self.image_height as usize,
            self.image_width as usize,
        ]
    }

    /// Elements of `visual_rows_bn4` and of `visual_weights_bn4`: none where a row's visual tokens are those of its one view.
    pub(super) fn visual_parts(&self) -> usize {
        self.views
            .map_or(0, |_| self.batch_size.saturating_mul(self.visual_tokens).saturating_mul(VISUAL_PARTS))
    }

    /// Bytes of one [`PackedBatch`](super::PackedBatch).
    pub fn batch_bytes(&self) -> u64 {
        let rows = self.batch_size as u64;
        let questions = rows * self.questions_per_sequence as u64;
        let pixels: u64 = self.pixel_shape().iter().map(|&side| side as u64).product();
        let (positions, visual) = (self.sequence_len as u64, self.visual_tokens as u64);
        // Pixels; rows and weights of visual tokens; tokens, positions, segments and prompt mask; the picture's places; targets and theirs; the question's vector; what
        // is generated.
        let words = pixels
            + 2 * self.visual_parts() as u64
            + rows * (4 * positions + visual + 2 * self.targets as u64 + self.vector_width as u64)
            + questions * self.max_new_tokens as u64;
        4 * words + questions * size_of::<super::PackedQuestion>() as u64
    }

    /// Positions at the beginning of a row that all its questions see: the picture and what stands in front of it.
    pub fn shared_positions(&self) -> usize {
        self.lead.len().saturating_add(self.visual_tokens)
    }

    /// Positions after the picture that a row has for questions and answers.
    pub fn text_positions(&self) -> usize {
        self.sequence_len.saturating_sub(self.shared_positions())
    }

    /// The rotary position of the first token behind the picture.
    pub fn first_text_position(&self) -> usize {
        self.lead.len() + self.picture_positions.unwrap_or(self.visual_tokens)
    }

    /// Positions that a question needs whether its answer is given or generated: its tokens, `<answer>`, and the larger
    /// of the given answer and the longest generated one, whose last token is never read.
    pub(super) fn question_positions(&self, question: usize, answer: usize) -> usize {
        question.saturating_add(1).saturating_add(answer.max(self.max_new_tokens.saturating_sub(1)))
    }

    fn check_size(&self) -> Result<(), PackingError> {
        let rows = self.batch_size as u128;
        let pixels: u128 = self.pixel_shape().iter().map(|&side| side as u128).product();
        let generated = rows * self.questions_per_sequence as u128 * self.max_new_tokens as u128;
        for (array, elements) in [
            ("pixels_bchw", pixels),
            ("visual_rows_bn4", self.visual_parts() as u128),
            ("tokens_bt", rows * self.sequence_len as u128),
            ("targets_bm", rows * self.targets as u128),
            ("vectors_be", rows * self.vector_width as u128),
            ("generated tokens", generated),
        ] {
            if elements > MAX_ELEMENTS {
                return Err(PackingError::TooLarge { array, elements, limit: MAX_ELEMENTS });
            }
        }
        Ok(())
    }
}
