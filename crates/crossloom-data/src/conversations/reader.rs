//! From a row of a file to the tokens and views of a conversation that fits a row of a batch.

use std::ops::Range;

use super::{ConversationError, PictureReader, Room, Source};
use crate::chat::{Turns, expand_images};
use crate::image::{Image, VisualLayout};
use crate::records::{Record, Records};
use crate::tokenizer::{ChatTokenizer, PICTURE, TokenizerError};

/// A picture in a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// The position of its first visual token.
    pub start: usize,
    /// What its visual tokens are made of, of the features of its views.
    pub layout: VisualLayout,
    /// What the encoder sees of it.
    pub views: Vec<Image>,
}

impl Shown {
    /// The position behind its last visual token.
    pub fn end(&self) -> usize {
        self.start + self.layout.tokens()
    }
}

/// A conversation that can be laid into a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Conversation {
    /// Its tokens, the model's token for pictures at every visual token.
    pub tokens: Vec<i32>,
    /// The tokens of every answer with its end: what is learned. All are behind the first token.
    pub learned: Vec<Range<usize>>,
    /// Its pictures, in their order.
    pub pictures: Vec<Shown>,
    /// What it needs of a row.
    pub needs: Room,
    /// Answers that were left out at its end, because no row has room for them.
    pub dropped: usize,
}

impl Conversation {
    /// How many positions these prompts begin with that one row holds for all of them: up to the end of their last picture, or all where they
    /// are the same. None where there is no prompt, or pictures or what stands up to their ends differ.
    pub fn beginning(prompts: &[&Self]) -> Option<usize> {
        let (first, others) = prompts.split_first()?;
        let same = |other: &&&Self| first.tokens == other.tokens && first.pictures == other.pictures;
        if others.iter().all(|other| same(&other)) {
            return Some(first.tokens.len());
        }
        let end = first.pictures.last().map_or(0, Shown::end);
        let begins = |other: &&Self| {
            other.pictures == first.pictures
                && other.tokens.len() > end
                && other.tokens.get(..end) == first.tokens.get(..end)
        };
        (first.tokens.len() > end && others.iter().all(begins)).then_some(end)
    }

    /// What is said of one that lost turns, by its name.
    pub(super) fn cut(&self, name: &str) -> String {
        format!("{name} loses {} of {} answers", self.dropped, self.dropped + self.learned.len())
    }
}

/// Reads conversations in a model's tokens and as views of its encoder.
#[derive(Debug)]
pub struct ConversationReader {
    tokenizer: ChatTokenizer,
    pictures: PictureReader,
    rooms: Vec<Room>,
}

/// What of a record has room, and how it is laid out.
struct Fitted {
    turns: Turns,
    layouts: Vec<(VisualLayout, usize)>,
    needs: Room,
}

impl ConversationReader {
    /// A reader for rows that have one of these rooms.
    pub fn new(tokenizer: ChatTokenizer, pictures: PictureReader, rooms: Vec<Room>) -> Self {
        Self { tokenizer, pictures, rooms }
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &ChatTokenizer {
        &self.tokenizer
    }

    /// How pictures are laid out.
    pub fn pictures(&self) -> &PictureReader {
        &self.pictures
    }

    /// Reads one sample with its pictures. One that is too long loses its last turns, whole, until a row holds it.
    ///
    /// # Errors
    /// What [`Records::read`] and [`Records::pictures`] refuse; a conversation that the template or the tokenizer refuses; one whose first
    /// turn no row holds. All name file and line.
    pub fn read(&self, source: &Source, number: usize) -> Result<Conversation, ConversationError> {
        let records = &source.records;
        let mut record = records.read(number)?;
        let answers = answers(&record);
        // What needs no picture is settled before any is decoded.
        let turns = self.text(records, number, &mut record)?;
        let mut decoded = records.pictures(number, &record)?;
        let fitted = self.fitted(records, number, &mut record, &mut decoded, turns)?;
        let dropped = answers - self::answers(&record);
        self.laid(fitted, decoded, dropped).map_err(|problem| records.refused(number, problem).into())
    }

    /// The turns whose text has room.
    fn text(
        &self,
        records: &Records,
        number: usize,
        record: &mut Record,
    ) -> Result<Turns, ConversationError> {
        let most = self.rooms.iter().map(|room| room.text).max().unwrap_or_default();
        loop {
            let turns = match self.tokenizer.turns(&record.messages) {
                Ok(turns) => turns,
                Err(TokenizerError::TextTooLong { bytes, limit }) => {
                    if !shorten(record) {
                        let problem =
                            format!("its first turn has {bytes} bytes of text; the limit is {limit}");
                        return Err(records.refused(number, problem).into());
                    }
                    continue;
                }
                Err(error) => return Err(records.refused(number, error.to_string()).into()),
            };
            let needed = text_of(&turns.ids);
            if needed <= most {
                return Ok(turns);
            }
            // Turns that reach beyond the end are known at once; what a template writes behind the last one is not.
            let fit = |of: &&Range<usize>| text_of(turns.ids.get(..of.end).unwrap_or_default()) <= most;
            let keep = turns.learned.iter().take_while(fit).count().min(turns.learned.len() - 1);
            for _ in keep.max(1)..turns.learned.len() {
                shorten(record);
            }
            if keep == 0 && turns.learned.len() == 1 {
                let problem = format!("its first turn has {needed} tokens of text; a row holds {most}");
                return Err(records.refused(number, problem).into());
            }
        }
    }

    /// The turns that have room with their pictures.
    fn fitted(
        &self,
        records: &Records,
        number: usize,
        record: &mut Record,
        decoded: &mut Vec<Image>,
        mut turns: Turns,
    ) -> Result<Fitted, ConversationError> {
        loop {
            decoded.truncate(record.pictures.len());
            let refused = |problem: String| records.refused(number, problem);
            let layouts = self.pictures.layouts(decoded).map_err(|error| refused(error.to_string()))?;
            let needs = Room {
                text: text_of(&turns.ids),
                visual: layouts.iter().map(|(layout, _)| layout.tokens()).sum(),
                views: layouts.iter().map(|(_, views)| views).sum(),
            };
            if self.rooms.iter().any(|room| room.holds(needs)) {
                return Ok(Fitted { turns, layouts, needs });
            }
            if !shorten(record) {
                let Room { text, visual, views } = needs;
                let problem = format!(
                    "its first turn has {text} tokens of text and {visual} of pictures in {views} views; no row holds them"
                );
                return Err(refused(problem).into());
            }
            turns = self.tokenizer.turns(&record.messages).map_err(|error| refused(error.to_string()))?;
        }
    }

    fn laid(&self, fitted: Fitted, decoded: Vec<Image>, dropped: usize) -> Result<Conversation, String> {
        let Fitted { turns, layouts, needs } = fitted;
        let counts: Vec<usize> = layouts.iter().map(|(layout, _)| layout.tokens()).collect();
        let expanded =
            expand_images(&turns.ids, PICTURE, &counts, "of the file").map_err(|e| e.to_string())?;
        let views = self.pictures.views(decoded).map_err(|error| error.to_string())?;
        let size = self.pictures.size();
        if let Some(other) = views.iter().flatten().find(|view| view.size() != size) {
            return Err(format!("a view has {} pixels, and {size} are expected", other.size()));
        }
        let learned = turns.learned.iter().map(|range| {
            let moved = |at: usize| {
                let before = turns.ids.get(..at).unwrap_or_default();
                let pictures = before.iter().filter(|&&id| id == PICTURE).count();
                at - pictures + counts.iter().take(pictures).sum::<usize>()
            };
            moved(range.start)..moved(range.end)
        });
        let learned: Vec<Range<usize>> = learned.collect();
        if learned.iter().any(|range| range.start == 0 || range.is_empty()) {
            return Err("an answer begins it, or has no token".to_owned());
        }
        let image = self.tokenizer.special().image;
        let tokens = expanded.ids.iter().map(|&id| if id == PICTURE { image } else { id }).collect();
        let pictures = expanded.images.iter().zip(layouts).zip(views);
        let pictures =
            pictures.map(|((place, (layout, _)), views)| Shown { start: place.start, layout, views });
        Ok(Conversation { tokens, learned, pictures: pictures.collect(), needs, dropped })
    }
}

/// Tokens that are no pictures.
fn text_of(ids: &[i32]) -> usize {
    ids.iter().filter(|&&id| id != PICTURE).count()
}

fn answers(record: &Record) -> usize {
    record.messages.iter().filter(|message| message.role == "assistant").count()
}

/// Takes the last question and its answer away, with the pictures that they show; false where that is all there is.
fn shorten(record: &mut Record) -> bool {
    if answers(record) < 2 {
        return false;
    }
    let left = record.messages.len() - 2;
    let shown: usize = record.messages.drain(left..).map(|message| message.pictures()).sum();
    record.pictures.truncate(record.pictures.len() - shown);
    true
}
