//! Tokenizers of pretrained models, of any kind that a `tokenizer.json` can be: pieces, bytes, special and added tokens, decoder.

use std::path::Path;
use std::sync::Arc;

use super::gguf::GgufVocabulary;
use super::stream::Pieces;
use super::{TokenizerError, encoded, read_json};

/// What a special token is that stands in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelled {
    /// Letters as any others: nobody can write one. For texts of people and data.
    Letters,
    /// The token itself. For what a chat template has written.
    Tokens,
}

/// Text to the ids of a pretrained model and back, as its publisher's tokenizer does both. What that says of cutting and of padding is not
/// done: a text is as long as it is.
#[derive(Debug, Clone)]
pub struct PublishedTokenizer {
    inner: tokenizers::Tokenizer,
    json: Arc<str>,
    hash: String,
    vocab_size: usize,
}

impl PublishedTokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// The file cannot be read, is above 64 MiB, or is no tokenizer.
    pub fn load(path: &Path, spelled: Spelled) -> Result<Self, TokenizerError> {
        Self::from_json(&read_json(path)?, spelled)
    }

    /// Reads the content of a `tokenizer.json`.
    ///
    /// # Errors
    /// It is no tokenizer.
    pub fn from_json(json: &[u8], spelled: Spelled) -> Result<Self, TokenizerError> {
        let invalid = |error: tokenizers::Error| TokenizerError::Invalid { reason: error.to_string() };
        let mut inner = tokenizers::Tokenizer::from_bytes(json).map_err(invalid)?;
        inner.with_truncation(None).map_err(invalid)?;
        inner.with_padding(None);
        inner.set_encode_special_tokens(spelled == Spelled::Letters);
        let ids = inner.get_vocab(true);
        let vocab_size = ids.values().max().map_or(0, |&largest| largest as usize + 1);
        if i32::try_from(vocab_size).is_err() {
            let reason = format!("{} tokens use ids up to {}", ids.len(), vocab_size - 1);
            return Err(TokenizerError::Invalid { reason });
        }
        let invalid = |error: std::str::Utf8Error| TokenizerError::Invalid { reason: error.to_string() };
        let text = Arc::from(std::str::from_utf8(json).map_err(invalid)?);
        Ok(Self { inner, json: text, hash: blake3::hash(json).to_hex().to_string(), vocab_size })
    }

    /// The tokenizer that a GGUF file holds.
    ///
    /// # Errors
    /// Its kind is not built, or it does not hold together.
    pub fn from_gguf(vocabulary: &GgufVocabulary, spelled: Spelled) -> Result<Self, TokenizerError> {
        Self::from_json(&vocabulary.to_json()?, spelled)
    }

    /// The ids of a text, with those that the tokenizer puts around every text where `around` asks for them.
    ///
    /// # Errors
    /// The text is above 64 KiB; the tokenizer has no token for a part of it.
    pub fn encode(&self, text: &str, around: bool) -> Result<Vec<i32>, TokenizerError> {
        let encoding = encoded(&self.inner, text, around)?;
        Ok(encoding.get_ids().iter().map(|&id| id as i32).collect())
    }

    /// The text of ids by the tokenizer's own decoder, without special tokens. Ids that no token has are left out.
    ///
    /// # Errors
    /// The decoder fails.
    pub fn decode(&self, ids: &[i32]) -> Result<String, TokenizerError> {
        let ids: Vec<u32> = ids.iter().filter_map(|&id| u32::try_from(id).ok()).collect();
        self.inner.decode(&ids, true).map_err(|error| TokenizerError::Invalid { reason: error.to_string() })
    }

    /// The text of ids by the tokenizer's own decoder, special tokens as they are written.
    ///
    /// # Errors
    /// The decoder fails.
    pub fn spelled(&self, ids: &[i32]) -> Result<String, TokenizerError> {
        let ids: Vec<u32> = ids.iter().filter_map(|&id| u32::try_from(id).ok()).collect();
        self.inner.decode(&ids, false).map_err(|error| TokenizerError::Invalid { reason: error.to_string() })
    }

    /// The text that one more token adds to those of a stream; nothing while a character is not whole.
    ///
    /// # Errors
    /// The decoder fails, or writes tokens otherwise once another follows.
    pub(super) fn step(&self, pieces: &mut Pieces, id: i32) -> Result<String, TokenizerError> {
        let Ok(id) = u32::try_from(id) else { return Ok(String::new()) };
        let Pieces { ids, prefix, prefix_len } = pieces;
        let text = tokenizers::step_decode_stream(&self.inner, vec![id], true, ids, prefix, prefix_len);
        let text = text.map_err(|error| TokenizerError::Invalid { reason: error.to_string() })?;
        Ok(text.unwrap_or_default())
    }

    /// The text that a stream holds back.
    ///
    /// # Errors
    /// The decoder fails.
    pub(super) fn rest(&self, pieces: &Pieces) -> Result<String, TokenizerError> {
        let text = self.inner.decode(&pieces.ids, true);
        let text = text.map_err(|error| TokenizerError::Invalid { reason: error.to_string() })?;
        Ok(text.get(pieces.prefix.len()..).unwrap_or_default().to_owned())
    }

    /// The id of a token by its written form.
    pub fn id(&self, token: &str) -> Option<i32> {
        self.inner.token_to_id(token).map(|id| id as i32)
    }

    /// The written form of an id.
    pub fn token(&self, id: i32) -> Option<String> {
        self.inner.id_to_token(u32::try_from(id).ok()?)
    }

    /// One more than the largest id.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Refuses a tokenizer that has ids for which an embedding of so many rows has none.
    ///
    /// # Errors
    /// Where the vocabulary is larger; the other way around is usual, since rows are filled up to a round number.
    pub fn check_embedding(&self, rows: usize) -> Result<(), TokenizerError> {
        if self.vocab_size <= rows {
            return Ok(());
        }
        let largest = self.token(self.vocab_size as i32 - 1).unwrap_or_default();
        Err(TokenizerError::Embedding { vocab_size: self.vocab_size, rows, largest })
    }

    /// The content of the `tokenizer.json` that it was read from.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// BLAKE3 of its file, as 64 hexadecimal digits.
    pub fn content_hash(&self) -> &str {
        &self.hash
    }
}
