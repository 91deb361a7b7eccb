//! The text of tokens that come one by one.

use super::{QuestionTokenizer, TokenizerError};

/// What is known of the tokens so far: as few of the last ones as their decoder needs to tell what the next one adds.
#[derive(Debug, Clone, Default)]
pub(super) struct Pieces {
    pub(super) ids: Vec<u32>,
    pub(super) prefix: String,
    pub(super) prefix_len: usize,
}

/// The text of an answer while it is generated, in whole characters: a character of several byte-level tokens is told with the last of
/// them. All that is told is what [`QuestionTokenizer::decode`] makes of all tokens, but for white space at the ends, which that leaves out.
#[derive(Debug, Clone, Default)]
pub struct TextStream {
    pieces: Pieces,
    /// Whether a word was told.
    begun: bool,
}

impl TextStream {
    /// The text that one more token adds; often nothing, as of a special token.
    ///
    /// # Errors
    /// A published tokenizer's decoder fails.
    pub fn push(&mut self, tokenizer: &QuestionTokenizer, id: i32) -> Result<String, TokenizerError> {
        match tokenizer {
            QuestionTokenizer::Chat(chat) => chat.published().step(&mut self.pieces, id),
            QuestionTokenizer::Words(words) => {
                let word = words.decode(&[id]);
                let space = if self.begun && !word.is_empty() { " " } else { "" };
                self.begun |= !word.is_empty();
                Ok(format!("{space}{word}"))
            }
        }
    }

    /// What was held back, where no token follows: half a character is shown as U+FFFD.
    ///
    /// # Errors
    /// A published tokenizer's decoder fails.
    pub fn rest(&self, tokenizer: &QuestionTokenizer) -> Result<String, TokenizerError> {
        match tokenizer {
            QuestionTokenizer::Chat(chat) => chat.published().rest(&self.pieces),
            QuestionTokenizer::Words(_) => Ok(String::new()),
        }
    }
}
