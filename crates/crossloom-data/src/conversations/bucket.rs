//! The lengths that rows have.

use super::{ConversationError, PictureReader};
use crate::packing::{LENGTH_MULTIPLE, PackingPlan};
use crate::tokenizer::ChatTokenizer;

/// What a row has room for, or what a sample needs of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Room {
    /// Positions of text.
    pub text: usize,
    /// Positions of visual tokens.
    pub visual: usize,
    /// Views of pictures.
    pub views: usize,
}

impl Room {
    /// Whether `other` fits into it.
    pub fn holds(self, other: Self) -> bool {
        other.text <= self.text && other.visual <= self.visual && other.views <= self.views
    }

    /// What both need together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let Self { text, visual, views } = other;
        Self { text: self.text + text, visual: self.visual + visual, views: self.views + views }
    }
}

/// One length of rows: what they hold, and the shapes of a batch of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Bucket {
    /// Of one row.
    pub room: Room,
    /// Of a batch. All text of a row may be learned, so it has as many targets as positions for text.
    pub plan: PackingPlan,
}

impl Bucket {
    /// Buckets of batches of `rows` rows, from the smallest: every one of `lengths` positions for text with every one of `views` for pictures.
    /// Where a row has one view and pictures are not cut, view `b` is that of row `b`, and views are not counted.
    /// `picture_positions` are the rotary positions that a picture takes, where its tokens share the first of them.
    ///
    /// # Errors
    /// No length, or one that is 0; pictures in tiles that share positions; arrays that would be too large.
    pub fn all(
        rows: usize,
        lengths: &[usize],
        views: &[usize],
        samples_per_row: usize,
        picture_positions: Option<usize>,
        pictures: &PictureReader,
        tokenizer: &ChatTokenizer,
    ) -> Result<Vec<Self>, ConversationError> {
        let sorted = |values: &[usize]| {
            let mut values = values.to_vec();
            values.sort_unstable();
            values.dedup();
            values
        };
        let problem = |problem: &str| ConversationError::Views { problem: problem.to_owned() };
        let (lengths, views) = (sorted(lengths), sorted(views));
        if lengths.is_empty() || views.is_empty() {
            return Err(problem("there is no bucket"));
        }
        if picture_positions.is_some() && !pictures.is_plain() {
            return Err(problem("tokens of tiles cannot share one rotary position"));
        }
        let mut buckets = Vec::with_capacity(lengths.len() * views.len());
        for &views in &views {
            for &text in &lengths {
                let counted = views > 1 || !pictures.is_plain();
                let room = Room { text, visual: pictures.most_tokens(views), views };
                let length = room.visual.saturating_add(text).checked_next_multiple_of(LENGTH_MULTIPLE);
                let plan = PackingPlan {
                    batch_size: rows,
                    sequence_len: length.unwrap_or(usize::MAX),
                    lead: Vec::new(),
                    visual_tokens: room.visual,
                    views: counted.then(|| rows.saturating_mul(views)),
                    picture_positions,
                    targets: text,
                    image_width: pictures.size().width,
                    image_height: pictures.size().height,
                    questions_per_sequence: samples_per_row,
                    max_new_tokens: 1,
                    vector_width: 0,
                    vocab_size: tokenizer.published().vocab_size(),
                    special: tokenizer.special(),
                };
                plan.check()?;
                buckets.push(Self { room, plan });
            }
        }
        Ok(buckets)
    }
}
