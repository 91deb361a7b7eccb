//! One split of a data set, checked when it is made.

use serde::{Deserialize, Serialize};

use super::{DatasetError, ImageStore, QuestionType};

/// One question about one picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// The picture's place in the split's [`ImageStore`].
    pub image: usize,
    /// The picture's number in the data set's own counting.
    pub image_id: u64,
    /// The question as it was written.
    pub question: String,
    /// The answer as it was written.
    pub answer: String,
    /// The kind of question.
    pub question_type: QuestionType,
}

/// Pictures and the questions about them, of which every one points at a picture. Never empty, but where a data set has no such split.
#[derive(Debug, Clone, PartialEq)]
pub struct VqaSplit {
    images: ImageStore,
    examples: Vec<Example>,
}

impl VqaSplit {
    /// A checked split; `name` and `split` are for messages.
    ///
    /// # Errors
    /// When there is no picture or no example, an example points at no picture, or a text is blank (all are listed).
    pub fn new(
        name: &str,
        split: &'static str,
        images: ImageStore,
        examples: Vec<Example>,
    ) -> Result<Self, DatasetError> {
        if images.is_empty() || examples.is_empty() {
            let (images, examples) = (images.len(), examples.len());
            return Err(DatasetError::Empty { name: name.to_owned(), split, images, examples });
        }
        let mut problems = Vec::new();
        for (index, example) in examples.iter().enumerate() {
            if example.image >= images.len() {
                problems.push(format!(
                    "example {index} is about picture {} of {}",
                    example.image,
                    images.len()
                ));
            }
            if example.question.trim().is_empty() {
                problems.push(format!("example {index} has a blank question"));
            }
            if example.answer.trim().is_empty() {
                problems.push(format!("example {index} has a blank answer"));
            }
        }
        if !problems.is_empty() {
            return Err(DatasetError::Invalid { name: name.to_owned(), split, problems });
        }
        Ok(Self { images, examples })
    }

    /// The split of a data set that has none: no picture of that size, and no question.
    ///
    /// # Errors
    /// A side of 0.
    pub fn none(width: u32, height: u32) -> Result<Self, DatasetError> {
        Ok(Self { images: ImageStore::with_capacity(width, height, 0)?, examples: Vec::new() })
    }

    /// The pictures, decoded.
    pub fn images(&self) -> &ImageStore {
        &self.images
    }

    /// The examples, in the data set's order; their index is the example's number everywhere else.
    pub fn examples(&self) -> &[Example] {
        &self.examples
    }

    /// Bytes that pictures and texts hold.
    pub fn bytes(&self) -> u64 {
        let texts = |example: &Example| example.question.capacity() + example.answer.capacity();
        let entries = self.examples.capacity() * size_of::<Example>();
        self.images.bytes() + (entries + self.examples.iter().map(texts).sum::<usize>()) as u64
    }

    /// Every question and every answer, for training a tokenizer.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.examples.iter().flat_map(|example| [example.question.as_str(), example.answer.as_str()])
    }
}
