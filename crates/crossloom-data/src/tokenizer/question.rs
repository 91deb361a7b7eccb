//! The tokenizer of a data set's questions and answers, of whichever kind.

use super::{ChatTokenizer, PublishedTokenizer, SpecialTokens, Spelled, Tokenizer, TokenizerError};
use crate::chat::ChatFormat;

/// What questions and answers are cut into.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "a run has one or two of them")]
pub enum QuestionTokenizer {
    /// Words, numbered as the data has them.
    Words(Tokenizer),
    /// The tokens of a pretrained language model, in its chat format.
    Chat(ChatTokenizer),
}

impl From<Tokenizer> for QuestionTokenizer {
    fn from(words: Tokenizer) -> Self {
        Self::Words(words)
    }
}

impl From<ChatTokenizer> for QuestionTokenizer {
    fn from(chat: ChatTokenizer) -> Self {
        Self::Chat(chat)
    }
}

impl QuestionTokenizer {
    /// Reads one back: from the content of a `tokenizer.json`, and the chat format where it is a model's own.
    ///
    /// # Errors
    /// It is no tokenizer, or lacks what packing needs.
    pub fn from_json(json: &[u8], format: Option<ChatFormat>) -> Result<Self, TokenizerError> {
        Ok(match format {
            None => Self::Words(Tokenizer::from_json(json)?),
            Some(format) => {
                Self::Chat(ChatTokenizer::new(PublishedTokenizer::from_json(json, Spelled::Tokens)?, format)?)
            }
        })
    }

    /// The content of a `tokenizer.json`.
    ///
    /// # Errors
    /// It cannot be serialised.
    pub fn to_json(&self) -> Result<String, TokenizerError> {
        match self {
            Self::Words(words) => words.to_json(),
            Self::Chat(chat) => Ok(chat.published().json().to_owned()),
        }
    }

    /// The chat format, where it is a model's own.
    pub fn format(&self) -> Option<&ChatFormat> {
        match self {
            Self::Words(_) => None,
            Self::Chat(chat) => Some(chat.format()),
        }
    }

    /// The tokens of a question that somebody asks.
    ///
    /// # Errors
    /// Words that a word tokenizer does not know, each with the nearest that it does; what [`ChatTokenizer::question`] refuses.
    pub fn question(&self, text: &str) -> Result<Vec<i32>, TokenizerError> {
        match self {
            Self::Words(words) => words.encode(text),
            Self::Chat(chat) => chat.question(text),
        }
    }

    /// The tokens of a data set's question, of which a word that is not known is `<unk>`.
    pub(crate) fn question_lossy(&self, text: &str) -> Result<Vec<i32>, TokenizerError> {
        match self {
            Self::Words(words) => words.encode_lossy(text),
            Self::Chat(chat) => chat.question(text),
        }
    }

    /// The tokens of a data set's answer, of which a word that is not known is `<unk>`.
    pub(crate) fn answer_lossy(&self, text: &str) -> Result<Vec<i32>, TokenizerError> {
        match self {
            Self::Words(words) => words.encode_lossy(text),
            Self::Chat(chat) => chat.answer(text),
        }
    }

    /// How many of these tokens stand for words that are not known.
    pub(crate) fn unknown(&self, ids: &[i32]) -> usize {
        match self {
            Self::Words(words) => ids.iter().filter(|&&id| id == words.special().unk).count(),
            Self::Chat(_) => 0,
        }
    }

    /// What generated tokens say, without special tokens.
    ///
    /// # Errors
    /// A published tokenizer's decoder fails.
    pub fn decode(&self, ids: &[i32]) -> Result<String, TokenizerError> {
        match self {
            Self::Words(words) => Ok(words.decode(ids)),
            Self::Chat(chat) => chat.decode(ids),
        }
    }

    /// Tokens as they are written, special ones included.
    ///
    /// # Errors
    /// A published tokenizer's decoder fails.
    pub fn spelled(&self, ids: &[i32]) -> Result<String, TokenizerError> {
        match self {
            Self::Words(words) => {
                let of = |&id: &i32| words.token(id).map_or_else(|| format!("<id {id}>"), str::to_owned);
                Ok(ids.iter().map(of).collect::<Vec<_>>().join(" "))
            }
            Self::Chat(chat) => chat.published().spelled(ids),
        }
    }

    /// What all sequences begin with, in front of their picture.
    pub fn lead(&self) -> &[i32] {
        match self {
            Self::Words(_) => &[],
            Self::Chat(chat) => chat.lead(),
        }
    }

    /// The ids with a meaning in a sequence.
    pub fn special(&self) -> SpecialTokens {
        match self {
            Self::Words(words) => words.special(),
            Self::Chat(chat) => chat.special(),
        }
    }

    /// One more than the largest id.
    pub fn vocab_size(&self) -> usize {
        match self {
            Self::Words(words) => words.vocab_size(),
            Self::Chat(chat) => chat.published().vocab_size(),
        }
    }
}
