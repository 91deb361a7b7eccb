//! What can be wrong with text or a tokenizer file.

use std::fmt;
use std::path::PathBuf;

use crate::chat::ChatError;

/// A word outside the vocabulary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownWord {
    /// As it was written.
    pub word: String,
    /// Up to three known words that are nearest in spelling.
    pub nearest: Vec<String>,
}

impl fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", shortened(&self.word))?;
        match self.nearest.as_slice() {
            [] => Ok(()),
            nearest => {
                let quoted: Vec<String> = nearest.iter().map(|word| format!("`{word}`")).collect();
                write!(f, " (nearest known: {})", quoted.join(", "))
            }
        }
    }
}

/// Why text could not be encoded, or a tokenizer not made.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The text has words that the model was never trained on.
    #[error("unknown {} {} in \"{text}\"", if words.len() == 1 { "word" } else { "words" }, listed(words))]
    UnknownWords {
        /// The beginning of the text.
        text: String,
        /// Every unknown word, once, in the order of the text.
        words: Vec<UnknownWord>,
    },
    /// The text is above the limit.
    #[error("the text has {bytes} bytes; the limit is {limit}")]
    TextTooLong {
        /// Its size.
        bytes: usize,
        /// The most bytes a text may have.
        limit: usize,
    },
    /// An example's answer has no word.
    #[error("example {example}: the {part} \"{text}\" has no word")]
    NoTokens {
        /// The number of the example in its split, from 0.
        example: usize,
        /// `question` or `answer`.
        part: &'static str,
        /// As the data set has it.
        text: String,
    },
    /// The `tokenizers` crate refused the text.
    #[error("cannot encode \"{text}\": {reason}")]
    Encode {
        /// The beginning of the text.
        text: String,
        /// The reason given.
        reason: String,
    },
    /// Nothing to make a vocabulary of.
    #[error("the training text has no words, so there is no vocabulary to make")]
    NoWords,
    /// The file is no usable tokenizer.
    #[error("not a usable tokenizer: {reason}")]
    Invalid {
        /// The reason given.
        reason: String,
    },
    /// Special tokens that packing needs are absent.
    #[error("the tokenizer lacks the special {}: {}", if missing.len() == 1 { "token" } else { "tokens" }, missing.join(", "))]
    MissingSpecial {
        /// Every absent token.
        missing: Vec<String>,
    },
    /// The tokenizer has ids that the embedding of its model has no row for.
    #[error(
        "the tokenizer has {vocab_size} ids, the last of them `{largest}`, and the embedding {rows} rows: they are not of one model"
    )]
    Embedding {
        /// One more than the largest id.
        vocab_size: usize,
        /// Rows of the embedding.
        rows: usize,
        /// The token of the largest id.
        largest: String,
    },
    /// A chat template or what it is given cannot be followed.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// A chat template that writes, but not what questions and answers can be cut out of.
    #[error(
        "the chat template {reason}: data cannot be laid out by it; `data.tokenizer = \"words\"` needs none"
    )]
    Template {
        /// What it does.
        reason: String,
    },
    /// The file is larger than the limit.
    #[error("`{}` is larger than {limit} bytes", path.display())]
    FileTooLarge {
        /// The file.
        path: PathBuf,
        /// The most bytes that are read.
        limit: u64,
    },
    /// The file could not be read or written.
    #[error("`{}`: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

fn listed(words: &[UnknownWord]) -> String {
    words.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The beginning of a text that may be of any length, for a message.
pub(super) fn shortened(text: &str) -> String {
    const CHARS: usize = 80;
    match text.char_indices().nth(CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
