//! Training: counting words, and a vocabulary whose order is fixed by the counts alone.

use std::collections::BTreeMap;

use tokenizers::models::wordlevel::WordLevel;
use tokenizers::normalizers::utils::Lowercase;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{
    AddedToken, NormalizedString, Normalizer as _, OffsetReferential, OffsetType, PreTokenizedString,
    PreTokenizer as _,
};

use super::{SpecialTokens, Tokenizer, TokenizerError};

/// How a vocabulary is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenizerOptions {
    /// A word seen fewer times than this is left out (default 1: nothing is).
    pub min_count: usize,
    /// At most this many words beside the special tokens; the most frequent stay (default 65,536).
    pub max_words: usize,
}

impl Default for TokenizerOptions {
    fn default() -> Self {
        Self { min_count: 1, max_words: 1 << 16 }
    }
}

impl Tokenizer {
    /// A tokenizer whose vocabulary is the words of `texts`: special tokens, then words by falling count, equal counts
    /// by their spelling.
    ///
    /// # Errors
    /// When the texts have no word at all.
    pub fn train<'a>(
        texts: impl IntoIterator<Item = &'a str>,
        options: &TokenizerOptions,
    ) -> Result<Self, TokenizerError> {
        // Questions repeat a lot: each text is split once.
        let mut repeats: BTreeMap<&str, usize> = BTreeMap::new();
        for text in texts {
            *repeats.entry(text).or_default() += 1;
        }
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for (text, times) in repeats {
            for word in split(text)? {
                *counts.entry(word).or_default() += times;
            }
        }
        if counts.is_empty() {
            return Err(TokenizerError::NoWords);
        }
        let mut words: Vec<(String, usize)> =
            counts.into_iter().filter(|(_, count)| *count >= options.min_count).collect();
        words.sort_by(|(a, count_a), (b, count_b)| count_b.cmp(count_a).then_with(|| a.cmp(b)));
        words.truncate(options.max_words);

        let special = SpecialTokens::NAMES.into_iter().map(str::to_owned);
        let vocabulary = special.chain(words.into_iter().map(|(word, _)| word)).zip(0_u32..).collect();
        let invalid = |error: tokenizers::Error| TokenizerError::Invalid { reason: error.to_string() };
        let model =
            WordLevel::builder().vocab(vocabulary).unk_token("<unk>".to_owned()).build().map_err(invalid)?;
        let mut inner = tokenizers::Tokenizer::new(model);
        inner.with_normalizer(Some(Lowercase)).map_err(invalid)?;
        inner.with_pre_tokenizer(Some(BertPreTokenizer));
        inner
            .add_special_tokens(SpecialTokens::NAMES.map(|name| AddedToken::from(name, true)))
            .map_err(invalid)?;
        Self::wrap(inner)
    }
}

/// The pieces of a text by the rule of a trained tokenizer.
fn split(text: &str) -> Result<Vec<String>, TokenizerError> {
    let failed = |error: tokenizers::Error| TokenizerError::Encode {
        text: super::error::shortened(text),
        reason: error.to_string(),
    };
    let mut normalized = NormalizedString::from(text);
    Lowercase.normalize(&mut normalized).map_err(failed)?;
    let mut pieces = PreTokenizedString::from(normalized);
    BertPreTokenizer.pre_tokenize(&mut pieces).map_err(failed)?;
    let splits = pieces.get_splits(OffsetReferential::Original, OffsetType::None);
    Ok(splits.into_iter().map(|(word, _, _)| word.to_owned()).filter(|word| !word.is_empty()).collect())
}
