//! The tokenizer of a pretrained text encoder: words in pieces, and the tokens that begin and end a text.

use std::path::Path;

use super::{TokenizerError, encoded, read};

/// Text to the ids of a pretrained encoder, as its `tokenizer.json` says. What that says of cutting and of padding is not done: a text
/// is as long as it is. A special token that a text spells is cut into pieces as any other letters.
#[derive(Debug, Clone)]
pub struct PieceTokenizer {
    inner: tokenizers::Tokenizer,
    hash: String,
}

impl PieceTokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// The file cannot be read, is above 64 MiB, or is no tokenizer.
    pub fn load(path: &Path) -> Result<Self, TokenizerError> {
        let json = read(path)?;
        let invalid = |error: tokenizers::Error| TokenizerError::Invalid { reason: error.to_string() };
        let mut inner = tokenizers::Tokenizer::from_bytes(&json).map_err(invalid)?;
        inner.with_truncation(None).map_err(invalid)?;
        inner.with_padding(None);
        inner.set_encode_special_tokens(true);
        Ok(Self { inner, hash: blake3::hash(&json).to_hex().to_string() })
    }

    /// The ids of a text, those that begin and end it included.
    ///
    /// # Errors
    /// The text is above 64 KiB.
    pub fn encode(&self, text: &str) -> Result<Vec<i32>, TokenizerError> {
        let encoding = encoded(&self.inner, text, true)?;
        Ok(encoding.get_ids().iter().map(|&id| id as i32).collect())
    }

    /// One more than the largest id.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab(true).values().max().map_or(0, |&largest| largest as usize + 1)
    }

    /// BLAKE3 of its file, as 64 hexadecimal digits.
    pub fn content_hash(&self) -> &str {
        &self.hash
    }
}
