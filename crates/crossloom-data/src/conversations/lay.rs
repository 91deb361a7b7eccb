//! Writing the rows of a full batch into its arrays.

use super::rows::Row;
use super::{Conversation, ConversationError};
use crate::image::{CHANNELS, PixelTable};
use crate::packing::{IMAGE_SEGMENT, ImageMode, PackedBatch, PackingError, VISUAL_PARTS};

/// Where the next sample of a row begins.
#[derive(Default)]
struct Next {
    position: usize,
    visual: usize,
    target: usize,
    segment: i32,
    /// The rotary position behind the sample that was written last.
    turn: usize,
}

/// A prompt with what is given of its answer, which is read with it.
#[derive(Debug, Clone, Copy)]
pub struct Begun<'p> {
    /// Up to where the answer begins.
    pub prompt: &'p Conversation,
    /// The first tokens of the answer; none where it is to begin.
    pub given: &'p [i32],
}

/// Writes samples into batches.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) table: PixelTable,
    pub(super) mode: ImageMode,
    /// Visual tokens of a view.
    pub(super) tokens: usize,
}

/// Writes prompts into batches: conversations up to where their answers begin, or to where what is given of these ends. Those of a row begin
/// alike, which the row holds once; behind that each is a segment of its own, so that none sees another.
#[derive(Debug)]
pub struct PromptLayer(Layer);

impl PromptLayer {
    /// For views of `tokens` visual tokens each, whose samples become what a table says.
    pub fn new(table: PixelTable, mode: ImageMode, tokens: usize) -> Self {
        Self(Layer { table, mode, tokens })
    }

    /// Fills a batch with the prompts of every row. Where its views are not counted, each prompt is about one whole picture, and what stands
    /// up to the picture's end is no question, as in rows of questions about a picture.
    ///
    /// # Errors
    /// More rows than the batch has; a row without prompts, or of prompts that do not begin alike ([`Conversation::beginning`]); prompts that
    /// are longer than a row, or have more views or visual tokens.
    pub fn lay(&self, rows: &[Vec<Begun<'_>>], batch: &mut PackedBatch) -> Result<(), ConversationError> {
        let plan = batch.plan();
        let (most_rows, length, visual) = (plan.batch_size, plan.sequence_len, plan.visual_tokens);
        let (counted, most) = (plan.views.is_some(), plan.views.unwrap_or(1));
        if rows.len() > most_rows {
            return Err(PackingError::TooManyRows { given: rows.len(), limit: most_rows }.into());
        }
        let first = |row: &Vec<Begun<'_>>| row.first().map(|begun| begun.prompt.needs).unwrap_or_default();
        let views: usize = rows.iter().map(|row| first(row).views).sum();
        let most_of_row = rows.iter().map(|row| first(row).views).max().unwrap_or_default();
        let tokens = rows.iter().map(|row| first(row).visual).max().unwrap_or_default();
        for (array, elements, limit) in [
            ("pixels_bchw", if counted { views } else { most_of_row }, most),
            ("image_index_bn", tokens, visual),
        ] {
            if elements > limit {
                let (elements, limit) = (elements as u128, limit as u128);
                return Err(PackingError::TooLarge { array, elements, limit }.into());
            }
        }
        batch.clear(true);
        batch.pixels_bchw.fill(0.0);
        let mut views = 0;
        for (row, begun) in rows.iter().enumerate() {
            let prompts: Vec<&Conversation> = begun.iter().map(|begun| begun.prompt).collect();
            let (Some((Begun { prompt, given }, others)), Some(shared)) =
                (begun.split_first(), Conversation::beginning(&prompts))
            else {
                let problem = format!("the {} prompts of row {row} do not begin alike", prompts.len());
                return Err(ConversationError::Views { problem });
            };
            let mut next = Next::default();
            self.0.sample(prompt, row, if counted { views } else { row }, &mut next, batch)?;
            views += prompt.needs.views;
            // Where they have nothing of their own, what is given of all answers stands behind the first prompt.
            let positions = &batch.positions_bt[row * length..][..prompt.tokens.len()];
            let turn = positions.get(shared).map_or(next.turn, |&turn| turn as usize);
            append(given, row, &mut next, batch)?;
            let no_question = match prompt.pictures.first().filter(|_| !counted) {
                _ if !others.is_empty() => shared,
                Some(picture) => picture.end(),
                None => 0,
            };
            batch.segments_bt[row * length..row * length + no_question].fill(IMAGE_SEGMENT);
            batch.ask(row, next.segment, 0..next.position);
            for begun in others {
                branch(*begun, (shared, turn), row, &mut next, batch)?;
            }
        }
        batch.real_rows = rows.len();
        Ok(())
    }
}

/// Writes what a prompt and its answer have behind the `shared` positions that its row holds already; the first of it has the rotary position
/// `turn`.
fn branch(
    Begun { prompt, given }: Begun<'_>,
    (shared, turn): (usize, usize),
    row: usize,
    next: &mut Next,
    batch: &mut PackedBatch,
) -> Result<(), ConversationError> {
    let own = prompt.tokens.get(shared..).unwrap_or_default();
    (next.segment, next.turn) = (next.segment + 1, turn);
    let start = next.position;
    append(own, row, next, batch)?;
    let at = row * batch.plan().sequence_len;
    batch.prompt_mask_bt[at + start..at + next.position].fill(1.0);
    append(given, row, next, batch)?;
    // A prompt that is all shared ends where that does.
    let place = if next.position == start { 0..shared } else { start..next.position };
    batch.ask(row, next.segment, place);
    Ok(())
}

/// Writes tokens behind a sample's last position.
fn append(
    tokens: &[i32],
    row: usize,
    next: &mut Next,
    batch: &mut PackedBatch,
) -> Result<(), ConversationError> {
    let length = batch.plan().sequence_len;
    let end = next.position + tokens.len();
    if end > length {
        let (elements, limit) = (end as u128, length as u128);
        return Err(PackingError::TooLarge { array: "tokens_bt", elements, limit }.into());
    }
    let at = row * length + next.position..row * length + end;
    batch.tokens_bt[at.clone()].copy_from_slice(tokens);
    batch.segments_bt[at.clone()].fill(next.segment);
    batch.positions_bt[at].iter_mut().zip(next.turn..).for_each(|(position, turn)| *position = turn as i32);
    (next.position, next.turn) = (end, next.turn + tokens.len());
    Ok(())
}

impl Layer {
    /// Fills a batch with rows that were made for its plan.
    pub(super) fn lay(&self, rows: &[Row], batch: &mut PackedBatch) -> Result<(), ConversationError> {
        batch.clear(false);
        batch.pixels_bchw.fill(0.0);
        let mut views = 0;
        for (row, of) in rows.iter().enumerate() {
            let mut next = Next::default();
            for sample in &of.samples {
                // A view that is not counted is that of its row.
                let first = if batch.plan().views.is_some() { views } else { row };
                self.sample(&sample.conversation, row, first, &mut next, batch)?;
                views += sample.conversation.needs.views;
            }
        }
        batch.real_rows = rows.len();
        Ok(())
    }

    fn sample(
        &self,
        conversation: &Conversation,
        row: usize,
        first_view: usize,
        next: &mut Next,
        batch: &mut PackedBatch,
    ) -> Result<(), ConversationError> {
        let plan = batch.plan();
        let (length, visual, targets) = (plan.sequence_len, plan.visual_tokens, plan.targets);
        let (shared, counted) = (plan.picture_positions, plan.views);
        let Conversation { tokens, learned, pictures, .. } = conversation;
        next.segment += 1;
        let (row_start, start) = (row * length, next.position);
        let asked = learned.first().map_or(tokens.len(), |answer| answer.start);

        let full = || PackingError::TooLarge {
            array: "tokens_bt",
            elements: tokens.len() as u128,
            limit: length as u128,
        };
        let at = row_start + start..row_start + start + tokens.len();
        if start + tokens.len() > length {
            return Err(full().into());
        }
        batch.tokens_bt[at.clone()].copy_from_slice(tokens);
        batch.segments_bt[at.clone()].fill(next.segment);
        batch.prompt_mask_bt[at.start..at.start + asked].fill(1.0);

        let mut places = pictures.iter().map(|shown| shown.start..shown.end());
        let mut place = places.next();
        let mut turn = 0;
        for (offset, position) in batch.positions_bt[at].iter_mut().enumerate() {
            *position = turn as i32;
            match (&place, shared) {
                (Some(picture), Some(positions)) if picture.contains(&offset) => {
                    if offset + 1 == picture.end {
                        turn += positions;
                        place = places.next();
                    }
                }
                (Some(picture), _) => {
                    turn += 1;
                    if offset + 1 >= picture.end {
                        place = places.next();
                    }
                }
                (None, _) => turn += 1,
            }
        }

        let mut view = first_view;
        for shown in pictures {
            let end = counted.map(|views| views * self.tokens);
            for token in 0..shown.layout.tokens() {
                let index = row * visual + next.visual;
                batch.image_index_bn[index] = (start + shown.start + token) as i32;
                if let Some(end) = end {
                    let parts = shown.layout.token(token).unwrap_or_default();
                    let base = (view * self.tokens) as i32;
                    let of_patches = parts.iter().map(|&(patch, weight)| (base + patch as i32, weight));
                    let of_end = parts.is_empty().then_some((end as i32, 1.0));
                    for (part, (from, weight)) in of_patches.chain(of_end).take(VISUAL_PARTS).enumerate() {
                        batch.visual_rows_bn4[index * VISUAL_PARTS + part] = from;
                        batch.visual_weights_bn4[index * VISUAL_PARTS + part] = weight;
                    }
                }
                next.visual += 1;
            }
            for image in &shown.views {
                if self.mode == ImageMode::Shown {
                    let size =
                        batch.plan().image_width as usize * batch.plan().image_height as usize * CHANNELS;
                    self.table
                        .write_chw(image.rgb(), &mut batch.pixels_bchw[view * size..(view + 1) * size])?;
                }
                view += 1;
            }
        }

        for position in learned.iter().cloned().flatten() {
            let slot = row * targets + next.target;
            batch.target_index_bm[slot] = (start + position - 1) as i32;
            batch.targets_bm[slot] = tokens[position];
            next.target += 1;
        }
        (next.position, next.turn) = (next.position + tokens.len(), turn);
        Ok(())
    }
}
