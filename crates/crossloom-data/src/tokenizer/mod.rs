//! A word-level tokenizer, trained from text or loaded from its `tokenizer.json` ([`Tokenizer`]); and those of pretrained models, of
//! any kind, out of a `tokenizer.json` or a GGUF file ([`PublishedTokenizer`]).
//!
//! The first: text is lower-cased and split at white space and around every punctuation mark; each piece is one token. Special
//! tokens ([`SpecialTokens`]) come first in the vocabulary and can never be written by a prompt: `<answer>` typed by a
//! person is three unknown pieces, not the marker.

mod chat;
mod error;
mod gguf;
mod nearest;
mod published;
mod question;
mod stream;
mod train;

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use chat::{ChatTokenizer, PICTURE};
pub use error::{TokenizerError, UnknownWord};
pub use gguf::GgufVocabulary;
pub use published::{PublishedTokenizer, Spelled};
pub use question::QuestionTokenizer;
pub use stream::TextStream;
pub use train::TokenizerOptions;

/// The longest text that is encoded, in bytes.
pub const MAX_TEXT_BYTES: usize = 64 << 10;
/// The largest `tokenizer.json` that is read, in bytes.
pub const MAX_FILE_BYTES: u64 = 64 << 20;

/// The ids of the tokens that have a meaning of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecialTokens {
    /// `<pad>`: fills positions that are not used.
    pub pad: i32,
    /// `<image>`: stands at the positions of visual tokens.
    pub image: i32,
    /// `<unk>`: stands for a word outside the vocabulary.
    pub unk: i32,
    /// `<eos>`: ends an answer.
    pub eos: i32,
    /// `<answer>`: ends a question; what is predicted from it begins the answer.
    pub answer: i32,
}

impl SpecialTokens {
    /// The written forms, in the order of their ids in a trained vocabulary.
    pub const NAMES: [&'static str; 5] = ["<pad>", "<image>", "<unk>", "<eos>", "<answer>"];

    fn contains(self, id: i32) -> bool {
        [self.pad, self.image, self.unk, self.eos, self.answer].contains(&id)
    }
}

/// Text to ids and back.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// The written form of each id; empty for an id that no token has.
    words: Vec<String>,
    special: SpecialTokens,
}

impl Tokenizer {
    /// Wraps a tokenizer of the `tokenizers` crate after checking that it has every special token.
    fn wrap(mut inner: tokenizers::Tokenizer) -> Result<Self, TokenizerError> {
        let missing: Vec<String> = SpecialTokens::NAMES
            .into_iter()
            .filter(|name| inner.token_to_id(name).is_none())
            .map(str::to_owned)
            .collect();
        if !missing.is_empty() {
            return Err(TokenizerError::MissingSpecial { missing });
        }
        let id = |name: &str| inner.token_to_id(name).map_or(-1, |id| id as i32);
        let [pad, image, unk, eos, answer] = SpecialTokens::NAMES.map(id);
        let special = SpecialTokens { pad, image, unk, eos, answer };

        let vocabulary = inner.get_vocab(true);
        let size = vocabulary.values().max().map_or(0, |&largest| largest as usize + 1);
        // A file may name any id; holes are allowed, but not a table of billions.
        if size > vocabulary.len().saturating_mul(16) {
            let reason = format!("{} tokens use ids up to {}", vocabulary.len(), size - 1);
            return Err(TokenizerError::Invalid { reason });
        }
        let mut words = vec![String::new(); size];
        let mut shared: BTreeSet<usize> = BTreeSet::new();
        for (word, id) in vocabulary {
            let Some(slot) = words.get_mut(id as usize) else { continue };
            if !slot.is_empty() {
                shared.insert(id as usize);
            }
            *slot = word;
        }
        if let Some(id) = shared.first() {
            let reason = format!("several words have the id {id}");
            return Err(TokenizerError::Invalid { reason });
        }
        inner.set_encode_special_tokens(true);
        Ok(Self { inner, words, special })
    }

    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// When the file cannot be read, is above 64 MiB, is no tokenizer, or lacks a special token.
    pub fn load(path: &Path) -> Result<Self, TokenizerError> {
        Self::from_json(&read_json(path)?)
    }

    /// Reads the content of a `tokenizer.json`.
    ///
    /// # Errors
    /// When it is no tokenizer or lacks a special token.
    pub fn from_json(json: &[u8]) -> Result<Self, TokenizerError> {
        let inner = tokenizers::Tokenizer::from_bytes(json)
            .map_err(|error| TokenizerError::Invalid { reason: error.to_string() })?;
        Self::wrap(inner)
    }

    /// The content of a `tokenizer.json`; the same vocabulary gives the same bytes.
    ///
    /// # Errors
    /// When the tokenizer cannot be serialised.
    pub fn to_json(&self) -> Result<String, TokenizerError> {
        self.inner.to_string(true).map_err(|error| TokenizerError::Invalid { reason: error.to_string() })
    }

    /// Writes a `tokenizer.json`: to a temporary file beside it, then renamed.
    ///
    /// # Errors
    /// When the file cannot be written; an older file is then untouched.
    pub fn save(&self, path: &Path) -> Result<(), TokenizerError> {
        let json = self.to_json()?;
        crossloom_files::write_atomic(path, json.as_bytes())
            .map_err(|source| TokenizerError::Io { path: path.to_owned(), source })
    }

    /// The ids of a text whose every word must be known.
    ///
    /// # Errors
    /// When the text is above 64 KiB or has unknown words; the error names each and the nearest known ones.
    pub fn encode(&self, text: &str) -> Result<Vec<i32>, TokenizerError> {
        let (ids, unknown) = self.pieces(text)?;
        if unknown.is_empty() {
            return Ok(ids);
        }
        let mut words: Vec<UnknownWord> = Vec::new();
        for word in unknown {
            if !words.iter().any(|known| known.word == word) {
                words.push(UnknownWord { nearest: nearest::nearest(&word, self.plain_words()), word });
            }
        }
        Err(TokenizerError::UnknownWords { text: error::shortened(text), words })
    }

    /// The ids of a text, with `<unk>` for unknown words.
    ///
    /// # Errors
    /// When the text is above 64 KiB.
    pub fn encode_lossy(&self, text: &str) -> Result<Vec<i32>, TokenizerError> {
        Ok(self.pieces(text)?.0)
    }

    /// The words of `ids` with a space between, without special tokens. An id outside the vocabulary is written `<id N>`.
    pub fn decode(&self, ids: &[i32]) -> String {
        let plain = ids.iter().copied().filter(|&id| !self.special.contains(id));
        let words = plain.map(|id| self.token(id).map_or_else(|| format!("<id {id}>"), str::to_owned));
        words.collect::<Vec<_>>().join(" ")
    }

    /// The written form of an id, special tokens included.
    pub fn token(&self, id: i32) -> Option<&str> {
        let word = self.words.get(usize::try_from(id).ok()?)?;
        (!word.is_empty()).then_some(word.as_str())
    }

    /// One more than the largest id.
    pub fn vocab_size(&self) -> usize {
        self.words.len()
    }

    /// The ids of the special tokens.
    pub fn special(&self) -> SpecialTokens {
        self.special
    }

    /// The vocabulary in the order of ids, without special tokens and holes.
    fn plain_words(&self) -> impl Iterator<Item = &str> {
        let plain = |&(id, word): &(usize, &String)| !word.is_empty() && !self.special.contains(id as i32);
        self.words.iter().enumerate().filter(plain).map(|(_, word)| word.as_str())
    }

    /// The ids, and the pieces of the text that are not in the vocabulary.
    fn pieces(&self, text: &str) -> Result<(Vec<i32>, Vec<String>), TokenizerError> {
        let encoding = encoded(&self.inner, text, false)?;
        let ids: Vec<i32> = encoding.get_ids().iter().map(|&id| id as i32).collect();
        let unknown = ids.iter().zip(encoding.get_offsets()).filter(|(id, _)| **id == self.special.unk);
        let unknown = unknown.map(|(_, &(from, to))| text.get(from..to).unwrap_or(text).to_owned());
        let unknown = unknown.collect();
        Ok((ids, unknown))
    }
}

/// The bytes of a `tokenizer.json`.
///
/// # Errors
/// The file cannot be read, or is above 64 MiB.
pub fn read_json(path: &Path) -> Result<Vec<u8>, TokenizerError> {
    let io_error = |source| TokenizerError::Io { path: path.to_owned(), source };
    let mut json = Vec::new();
    let file = std::fs::File::open(path).map_err(io_error)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut json).map_err(io_error)?;
    if json.len() as u64 > MAX_FILE_BYTES {
        return Err(TokenizerError::FileTooLarge { path: path.to_owned(), limit: MAX_FILE_BYTES });
    }
    Ok(json)
}

/// A text as a tokenizer cuts it, with the tokens that it puts around a text where that is asked for.
fn encoded(
    inner: &tokenizers::Tokenizer,
    text: &str,
    around: bool,
) -> Result<tokenizers::Encoding, TokenizerError> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(TokenizerError::TextTooLong { bytes: text.len(), limit: MAX_TEXT_BYTES });
    }
    inner
        .encode(text, around)
        .map_err(|error| TokenizerError::Encode { text: error::shortened(text), reason: error.to_string() })
}

#[cfg(test)]
mod tests;
