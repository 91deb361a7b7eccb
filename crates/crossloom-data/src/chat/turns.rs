//! Which tokens of a conversation are learned: the answers, turn by turn.

use std::ops::Range;

use super::{ChatError, ChatTemplate, Message};
use crate::tokenizer::{PublishedTokenizer, TokenizerError};

/// A conversation as text and tokens, and which of the tokens are learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turns {
    /// As the template writes it.
    pub text: String,
    /// Its tokens, a placeholder for every picture.
    pub ids: Vec<i32>,
    /// The tokens of every answer with its end, in their order: their loss is taken, and that of no other.
    pub learned: Vec<Range<usize>>,
}

impl Turns {
    /// Cuts a conversation into what is given and what is learned.
    ///
    /// # Errors
    /// The template refuses it, or writes an earlier turn otherwise once a later one is there; the tokenizer joins what stands on two sides of
    /// a border.
    pub fn new(
        template: &ChatTemplate,
        tokenizer: &PublishedTokenizer,
        messages: &[Message],
    ) -> Result<Self, TokenizerError> {
        Self::encoded(template, tokenizer, &|text| tokenizer.encode(text, false), messages)
    }

    /// The same where `encode` makes tokens of what the template writes.
    pub(crate) fn encoded(
        template: &ChatTemplate,
        tokenizer: &PublishedTokenizer,
        encode: &dyn Fn(&str) -> Result<Vec<i32>, TokenizerError>,
        messages: &[Message],
    ) -> Result<Self, TokenizerError> {
        let text = template.render(messages, false)?;
        let ids = encode(&text)?;
        let mut learned = Vec::new();
        for (at, _) in messages.iter().enumerate().filter(|(_, message)| message.role == "assistant") {
            let (asked, answered) = (messages.get(..at), messages.get(..=at));
            let asked = template.render(asked.unwrap_or_default(), true)?;
            let answered = template.render(answered.unwrap_or_default(), false)?;
            let odd = |what: &str| ChatError::Render { reason: format!("message {} {what}", at + 1) };
            if !answered.starts_with(&asked) || !text.starts_with(&answered) {
                return Err(odd("is written otherwise alone than before later ones").into());
            }
            let start = encode(&asked)?;
            let end = encode(&answered)?;
            if !end.starts_with(&start) || !ids.starts_with(&end) {
                return Err(odd("has no border that the tokenizer keeps").into());
            }
            // A line end behind the mark that ends an answer is nobody's to say.
            let mut end = end.len();
            while end > start.len() && is_space(tokenizer, &ids[end - 1..end])? {
                end -= 1;
            }
            learned.push(start.len()..end);
        }
        Ok(Self { text, ids, learned })
    }
}

/// Whether a token is white space. A special token is none, though a decoder leaves it out.
fn is_space(tokenizer: &PublishedTokenizer, id: &[i32]) -> Result<bool, TokenizerError> {
    let text = tokenizer.decode(id)?;
    Ok(!text.is_empty() && text.trim().is_empty())
}
