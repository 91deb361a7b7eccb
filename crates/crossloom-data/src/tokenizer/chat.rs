//! Questions and answers as a pretrained language model reads and writes them.

use std::borrow::Cow;
use std::sync::Arc;

use super::error::shortened;
use super::{PublishedTokenizer, SpecialTokens, TokenizerError};
use crate::chat::{ChatError, ChatFormat, ChatTemplate, Message, Part, Turns};

/// A question and an answer that nobody asks and gives, to see what a template writes around them.
const QUESTION: &str = "crossloom-question";
const ANSWER: &str = "crossloom-answer";
/// Stands for a picture in what a template writes that has no place for one: no character at all, which no text has.
const MARK: char = '\u{10FFFF}';

/// What stands for a picture among the ids of [`ChatTokenizer::turns`].
pub const PICTURE: i32 = -1;

/// A model's own tokenizer behind its chat template, for a picture with questions about it.
///
/// A conversation `[text][picture][question][text][answer][end]` is cut into what all questions share in front of the picture (its
/// *lead*), what stands between picture and answer, of which the last token is always the same (`<answer>` of [`SpecialTokens`]), the
/// answer, and the first token behind it (`<eos>`). Where a template has no place for pictures, as that of a model without eyes, a picture
/// stands in front of the user's words.
#[derive(Debug, Clone)]
pub struct ChatTokenizer {
    tokenizer: PublishedTokenizer,
    format: ChatFormat,
    template: Arc<ChatTemplate>,
    /// The token of a picture in what the template writes.
    image: Option<i32>,
    /// What is written in front of the user's words, where a picture has no token.
    opening: String,
    lead: Vec<i32>,
    /// What stands in front of an answer: the text of a prompt, and its tokens.
    prompt: (String, Vec<i32>),
    /// The space that a template may write in front of an answer.
    gap: String,
    special: SpecialTokens,
}

impl ChatTokenizer {
    /// Reads off what a template writes around questions and answers.
    ///
    /// # Errors
    /// A template that cannot be run, whose answers begin otherwise than its prompts end, or of which answers have no end; a tokenizer
    /// that joins what stands on two sides of such a border, or has no token for a picture that the template places.
    pub fn new(tokenizer: PublishedTokenizer, format: ChatFormat) -> Result<Self, TokenizerError> {
        let template = Arc::new(format.open()?);
        let image = match &format.image_token {
            None => None,
            Some(token) => Some(
                tokenizer
                    .id(token)
                    .ok_or_else(|| TokenizerError::MissingSpecial { missing: vec![token.clone()] })?,
            ),
        };
        let unset = SpecialTokens { pad: 0, image: 0, unk: 0, eos: 0, answer: 0 };
        let mut made = Self {
            tokenizer,
            format,
            template,
            image,
            opening: String::new(),
            lead: Vec::new(),
            prompt: (String::new(), Vec::new()),
            gap: String::new(),
            special: unset,
        };
        made.probe()?;
        Ok(made)
    }

    fn probe(&mut self) -> Result<(), TokenizerError> {
        let asked = Message::question(usize::from(self.image.is_some()), QUESTION);
        let prompt = self.template.render(std::slice::from_ref(&asked), true)?;
        let whole = self.template.render(&[asked, Message::text("assistant", ANSWER)], false)?;
        if self.image.is_none() {
            let (opening, _) =
                prompt.split_once(QUESTION).ok_or_else(|| odd("leaves the user's words out"))?;
            opening.clone_into(&mut self.opening);
            self.lead = self.tokenizer.encode(&self.opening, false)?;
        } else {
            self.lead = self.parts(QUESTION, &prompt)?.0;
        }
        let behind = whole.strip_prefix(prompt.as_str());
        let behind = behind.ok_or_else(|| odd("begins an answer otherwise than it asks for one"))?;
        let (gap, end) = behind.split_once(ANSWER).ok_or_else(|| odd("leaves the assistant's words out"))?;
        if !gap.trim().is_empty() {
            return Err(odd("writes words of its own in front of an answer"));
        }
        gap.clone_into(&mut self.gap);
        let ids = self.tokenizer.encode(&prompt, false)?;
        let end = self.end(&prompt, end, &ids)?;
        let answer = *ids.last().ok_or_else(|| odd("writes nothing in front of an answer"))?;
        self.prompt = (prompt, ids);

        let pad =
            self.format.tokens.get("pad_token").and_then(|token| self.tokenizer.id(token)).unwrap_or(end);
        // Its embedding is never read; it only must not stand in front of a picture.
        let free = || (0..self.tokenizer.vocab_size() as i32).find(|id| !self.lead.contains(id));
        let image = self.image.or_else(free).unwrap_or_default();
        self.special = SpecialTokens { pad, image, unk: pad, eos: end, answer };
        Ok(())
    }

    /// The first token behind an answer: that of the text which the template writes there, or the tokenizer's own end.
    fn end(&self, prompt: &str, end: &str, ids: &[i32]) -> Result<i32, TokenizerError> {
        if end.trim().is_empty() {
            let own = self.format.tokens.get("eos_token").and_then(|token| self.tokenizer.id(token));
            return own.ok_or_else(|| odd("writes nothing behind an answer, and there is no `eos_token`"));
        }
        let answered = format!("{prompt}{}{ANSWER}", self.gap);
        let answer = self.tokenizer.encode(&answered, false)?;
        let whole = self.tokenizer.encode(&format!("{answered}{end}"), false)?;
        match whole.strip_prefix(answer.as_slice()) {
            Some(&[first, ..]) if answer.starts_with(ids) => Ok(first),
            _ => Err(odd("writes no border between question, answer and end that the tokenizer keeps")),
        }
    }

    /// The tokens in front of a picture and those behind it.
    fn parts(&self, question: &str, written: &str) -> Result<(Vec<i32>, Vec<i32>), TokenizerError> {
        let Some(image) = self.image else {
            let behind = written.strip_prefix(self.opening.as_str());
            let behind = behind.ok_or_else(|| odd("writes another text in front of other words"))?;
            return Ok((self.lead.clone(), self.tokenizer.encode(behind, false)?));
        };
        let mut ids = self.tokenizer.encode(written, false)?;
        let places: Vec<usize> = (0..ids.len()).filter(|&at| ids[at] == image).collect();
        let [place] = places[..] else {
            let (sample, places) = (format!("\"{}\"", shortened(question)), places.len());
            return Err(ChatError::Places { sample, places, pictures: 1 }.into());
        };
        let behind = ids.split_off(place + 1);
        ids.pop();
        Ok((ids, behind))
    }

    /// The tokens of a question behind its picture, up to the one from which its answer is predicted.
    ///
    /// # Errors
    /// The template refuses it, or writes something else around it than around other questions; the text is above 64 KiB.
    pub fn question(&self, text: &str) -> Result<Vec<i32>, TokenizerError> {
        let asked = Message::question(usize::from(self.image.is_some()), text.trim());
        let (lead, mut behind) = self.parts(text, &self.template.render(&[asked], true)?)?;
        if lead != self.lead {
            return Err(odd("writes another text in front of other words"));
        }
        match behind.pop() {
            Some(last) if last == self.special.answer && !behind.is_empty() => Ok(behind),
            _ => Err(odd("ends a prompt with other words than that of another question")),
        }
    }

    /// The tokens of an answer, without its end.
    ///
    /// # Errors
    /// The text is above 64 KiB; the tokenizer joins it with what stands in front of it.
    pub fn answer(&self, text: &str) -> Result<Vec<i32>, TokenizerError> {
        let (prompt, ids) = &self.prompt;
        let whole = self.tokenizer.encode(&format!("{prompt}{}{}", self.gap, text.trim()), false)?;
        let answer = whole.strip_prefix(ids.as_slice()).map(<[i32]>::to_vec);
        answer.ok_or_else(|| TokenizerError::Encode {
            text: shortened(text),
            reason: "its beginning and the end of the prompt become one token".to_owned(),
        })
    }

    /// A conversation as tokens, [`PICTURE`] for every picture, and what of it is learned. Where the template has no place for pictures,
    /// each stands where the conversation shows it.
    ///
    /// # Errors
    /// Those of [`Turns::new`]; a text that has the token of a picture, or the mark that stands for one.
    pub fn turns(&self, messages: &[Message]) -> Result<Turns, TokenizerError> {
        let told = self.told(messages)?;
        let mut turns = Turns::encoded(&self.template, &self.tokenizer, &|text| self.written(text), &told)?;
        self.place(&mut turns.ids, messages)?;
        Ok(turns)
    }

    /// A conversation as tokens, [`PICTURE`] for every picture, up to where the model goes on: behind a user's message that is where an
    /// answer begins.
    ///
    /// # Errors
    /// The template refuses it; a text that has the token of a picture, or the mark that stands for one, or is above 64 KiB.
    pub fn prompt(&self, messages: &[Message]) -> Result<Vec<i32>, TokenizerError> {
        let answer = messages.last().is_some_and(|last| last.role != "assistant");
        let mut ids = self.written(&self.template.render(&self.told(messages)?, answer)?)?;
        self.place(&mut ids, messages)?;
        Ok(ids)
    }

    /// Messages as the template is given them: where pictures have no token, with marks in their places.
    fn told<'m>(&self, messages: &'m [Message]) -> Result<Cow<'m, [Message]>, TokenizerError> {
        if self.image.is_some() {
            return Ok(Cow::Borrowed(messages));
        }
        let marked = messages.iter().map(|Message { role, content }| {
            let parts = content.iter().map(|part| match part {
                Part::Text { text } if text.contains(MARK) => {
                    Err(ChatError::Render { reason: "a text has the character U+10FFFF".to_owned() })
                }
                Part::Text { text } => Ok(Part::Text { text: text.clone() }),
                Part::Image {} => Ok(Part::Text { text: MARK.to_string() }),
            });
            Ok(Message { role: role.clone(), content: parts.collect::<Result<_, ChatError>>()? })
        });
        Ok(Cow::Owned(marked.collect::<Result<_, ChatError>>()?))
    }

    /// The tokens of what the template wrote; where pictures have no token, [`PICTURE`] for their marks.
    fn written(&self, text: &str) -> Result<Vec<i32>, TokenizerError> {
        if self.image.is_some() {
            return self.tokenizer.encode(text, false);
        }
        let mut ids = Vec::new();
        for (at, piece) in text.split(MARK).enumerate() {
            if at > 0 {
                ids.push(PICTURE);
            }
            if !piece.is_empty() {
                ids.extend(self.tokenizer.encode(piece, false)?);
            }
        }
        Ok(ids)
    }

    /// Puts [`PICTURE`] in the place of the token of every picture.
    fn place(&self, ids: &mut [i32], messages: &[Message]) -> Result<(), TokenizerError> {
        let Some(image) = self.image else { return Ok(()) };
        let places = ids.iter().filter(|&&id| id == image).count();
        let pictures: usize = messages.iter().map(Message::pictures).sum();
        if places != pictures {
            let sample = messages.last().map_or_else(String::new, |last| last.role.clone());
            return Err(ChatError::Places { sample, places, pictures }.into());
        }
        for id in ids.iter_mut().filter(|id| **id == image) {
            *id = PICTURE;
        }
        Ok(())
    }

    /// What generated tokens say.
    ///
    /// # Errors
    /// The tokenizer's decoder fails.
    pub fn decode(&self, ids: &[i32]) -> Result<String, TokenizerError> {
        Ok(self.tokenizer.decode(ids)?.trim().to_owned())
    }

    /// What all sequences begin with, in front of their picture.
    pub fn lead(&self) -> &[i32] {
        &self.lead
    }

    /// The ids with a meaning in a sequence. A tokenizer that knows everything has no `<unk>`: it is `<pad>` then.
    pub fn special(&self) -> SpecialTokens {
        self.special
    }

    /// BLAKE3 of the tokenizer and of the format, as 64 hexadecimal digits: of all that decides what a text becomes.
    ///
    /// # Errors
    /// The format cannot be serialised.
    pub fn content_hash(&self) -> Result<String, TokenizerError> {
        let format = serde_json::to_string(&self.format)
            .map_err(|error| TokenizerError::Template { reason: error.to_string() })?;
        let content = format!("{}\n{format}", self.tokenizer.content_hash());
        Ok(blake3::hash(content.as_bytes()).to_hex().to_string())
    }

    /// The tokenizer.
    pub fn published(&self) -> &PublishedTokenizer {
        &self.tokenizer
    }

    /// The template.
    pub fn format(&self) -> &ChatFormat {
        &self.format
    }
}

fn odd(what: &str) -> TokenizerError {
    TokenizerError::Template { reason: what.to_owned() }
}
