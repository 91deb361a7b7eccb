//! Test questions with the answers of the variants.

use serde::Serialize;

/// The samples that the report shows.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SampleSet {
    /// How they were chosen, one sentence, such as `The first 48 questions of the test split.`; may be empty.
    pub selection: String,
    /// The samples, in the order shown.
    pub items: Vec<Sample>,
}

/// One test question.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// Name of the sample in the data set.
    pub id: String,
    /// Bytes of a PNG or JPEG file (embedded as they are: keep pictures small), or `None` if it was not kept.
    #[serde(skip)]
    pub picture: Option<Vec<u8>>,
    /// Text for readers who cannot see the picture; empty uses the sample's name.
    pub alt: String,
    /// Question type, one of the names of the accuracy columns.
    pub kind: String,
    /// As it was asked.
    pub question: String,
    /// The right answer.
    pub truth: String,
    /// The variants' answers, in the order shown.
    pub answers: Vec<Answer>,
}

/// One variant's answer to a question.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Name of the variant or prior.
    pub variant: String,
    /// What it answered.
    pub text: String,
    /// Whether the evaluation counted it as right.
    pub correct: bool,
}
