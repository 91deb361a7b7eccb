//! The kind of a question, by which accuracies are reported.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The kind of a question: a short name in snake case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct QuestionType(Cow<'static, str>);

impl QuestionType {
    /// Answered by yes or no.
    pub const YES_NO: Self = Self(Cow::Borrowed("yes_no"));
    /// Answered by a shape.
    pub const SHAPE: Self = Self(Cow::Borrowed("shape"));
    /// Answered by a colour.
    pub const COLOUR: Self = Self(Cow::Borrowed("colour"));

    /// Answered by more than yes or no, in data that does not say what it asks for.
    pub const OPEN: Self = Self(Cow::Borrowed("open"));

    /// The kind of a question of data that does not say what it asks for: yes or no, in any letters and with or without a full stop, or open.
    pub fn of_answer(answer: &str) -> Self {
        let answer = answer.trim().trim_end_matches('.');
        if answer.eq_ignore_ascii_case("yes") || answer.eq_ignore_ascii_case("no") {
            Self::YES_NO
        } else {
            Self::OPEN
        }
    }

    /// Another kind, by its name.
    pub fn named(name: impl Into<String>) -> Self {
        Self(Cow::Owned(name.into()))
    }

    /// The kind of a question about coloured shapes, from its answer: yes or no, a shape, else a colour.
    pub(crate) fn of_shape_answer(answer: &str) -> Self {
        match answer {
            "yes" | "no" => Self::YES_NO,
            "circle" | "rectangle" | "triangle" => Self::SHAPE,
            _ => Self::COLOUR,
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the answer is more than yes or no.
    pub fn is_open(&self) -> bool {
        *self != Self::YES_NO
    }
}

impl fmt::Display for QuestionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
