//! A split as token ids, grouped by picture.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;

use crate::datasets::VqaSplit;
use crate::tokenizer::{QuestionTokenizer, SpecialTokens, TokenizerError};

/// The parts of an example, as messages call them.
const QUESTION: &str = "question";
const ANSWER: &str = "answer";

/// Questions and answers of a split as token ids. Equal texts share their ids.
#[derive(Debug, Clone)]
pub struct EncodedSplit {
    tokens: Vec<i32>,
    /// Per example.
    questions: Vec<Range<usize>>,
    /// Per example.
    answers: Vec<Range<usize>>,
    /// Per example: more than yes or no.
    open: Vec<bool>,
    /// Per example.
    images: Vec<u32>,
    /// Examples sorted by picture; picture `i` owns `offsets[i]..offsets[i + 1]`.
    by_image: Vec<u32>,
    offsets: Vec<usize>,
    /// What all sequences begin with, in front of their picture.
    lead: Vec<i32>,
    special: SpecialTokens,
    vocab_size: usize,
    unknown_words: usize,
}

impl EncodedSplit {
    /// Encodes every question and answer. Words that the tokenizer does not know become `<unk>` and are counted: a test
    /// split may have words that training never showed.
    ///
    /// # Errors
    /// When a text is above the tokenizer's limit or has no word.
    pub fn new(split: &VqaSplit, tokenizer: &QuestionTokenizer) -> Result<Self, TokenizerError> {
        let count = split.examples().len();
        let mut tokens = Vec::new();
        let mut spans: BTreeMap<(&str, &str), (Range<usize>, usize)> = BTreeMap::new();
        let mut unknown_words = 0;
        let mut intern = |text, example, part| -> Result<Range<usize>, TokenizerError> {
            let (span, unknown) = match spans.entry((part, text)) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    let ids = match part {
                        QUESTION => tokenizer.question_lossy(text)?,
                        _ => tokenizer.answer_lossy(text)?,
                    };
                    if ids.is_empty() {
                        return Err(TokenizerError::NoTokens { example, part, text: str::to_owned(text) });
                    }
                    let unknown = tokenizer.unknown(&ids);
                    let start = tokens.len();
                    tokens.extend(ids);
                    new.insert((start..tokens.len(), unknown))
                }
            };
            unknown_words += *unknown;
            Ok(span.clone())
        };
        let mut questions = Vec::with_capacity(count);
        let mut answers = Vec::with_capacity(count);
        for (index, example) in split.examples().iter().enumerate() {
            questions.push(intern(&example.question, index, QUESTION)?);
            answers.push(intern(&example.answer, index, ANSWER)?);
        }

        let images: Vec<u32> = split.examples().iter().map(|example| example.image as u32).collect();
        let mut by_image: Vec<u32> = (0..count as u32).collect();
        by_image.sort_by_key(|&example| images[example as usize]);
        let mut offsets = vec![0; split.images().len() + 1];
        for &image in &images {
            offsets[image as usize + 1] += 1;
        }
        for image in 1..offsets.len() {
            offsets[image] += offsets[image - 1];
        }
        Ok(Self {
            tokens,
            questions,
            answers,
            open: split.examples().iter().map(|example| example.question_type.is_open()).collect(),
            images,
            by_image,
            offsets,
            lead: tokenizer.lead().to_vec(),
            special: tokenizer.special(),
            vocab_size: tokenizer.vocab_size(),
            unknown_words,
        })
    }

    /// How many examples the split numbers, held-out ones included.
    pub fn len(&self) -> usize {
        self.questions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.questions.is_empty()
    }

    /// The numbers of the examples about the pictures that it keeps, ascending.
    pub fn examples(&self) -> Vec<usize> {
        let mut numbers: Vec<usize> = self.by_image.iter().map(|&example| example as usize).collect();
        numbers.sort_unstable();
        numbers
    }

    /// The same numbering with the examples about some pictures only.
    pub(super) fn only(&self, keep: &dyn Fn(usize) -> bool) -> Self {
        let (mut by_image, mut offsets) = (Vec::new(), vec![0]);
        for image in 0..self.images() {
            if keep(image) {
                by_image.extend_from_slice(self.examples_of(image));
            }
            offsets.push(by_image.len());
        }
        Self { by_image, offsets, ..self.clone() }
    }

    /// How many pictures the split has, with or without questions.
    pub fn images(&self) -> usize {
        self.offsets.len() - 1
    }

    /// The question's tokens, without `<answer>`; nothing for an example that does not exist.
    pub fn question(&self, example: usize) -> &[i32] {
        self.questions.get(example).and_then(|span| self.tokens.get(span.clone())).unwrap_or_default()
    }

    /// The answer's tokens, without `<eos>`; nothing for an example that does not exist.
    pub fn answer(&self, example: usize) -> &[i32] {
        self.answers.get(example).and_then(|span| self.tokens.get(span.clone())).unwrap_or_default()
    }

    /// The picture of an example, held out or not.
    pub fn image_of(&self, example: usize) -> Option<usize> {
        self.images.get(example).map(|&image| image as usize)
    }

    /// The examples about a picture, in the order of the data set; none for a picture that is held out or does not exist.
    pub fn examples_of(&self, image: usize) -> &[u32] {
        match (self.offsets.get(image), self.offsets.get(image.saturating_add(1))) {
            (Some(&from), Some(&to)) => self.by_image.get(from..to).unwrap_or_default(),
            _ => &[],
        }
    }

    /// Whether the question asks for more than yes or no.
    pub(super) fn is_open(&self, example: usize) -> bool {
        self.open.get(example).copied().unwrap_or(false)
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> u64 {
        let spans = self.questions.capacity() + self.answers.capacity();
        let bytes = size_of_val(self.tokens.as_slice())
            + spans * size_of::<Range<usize>>()
            + self.open.capacity()
            + (self.images.capacity() + self.by_image.capacity()) * size_of::<u32>()
            + self.offsets.capacity() * size_of::<usize>();
        bytes as u64
    }

    /// How many words were not known, over all examples.
    pub fn unknown_words(&self) -> usize {
        self.unknown_words
    }

    /// What all sequences begin with, in front of their picture.
    pub fn lead(&self) -> &[i32] {
        &self.lead
    }

    /// The tokenizer's special tokens.
    pub fn special(&self) -> SpecialTokens {
        self.special
    }

    /// The tokenizer's vocabulary size.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }
}
