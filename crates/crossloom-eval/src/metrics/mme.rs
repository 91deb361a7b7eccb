//! MME: two yes/no questions per picture, accuracy plus both-right accuracy.
//!
//! A reply becomes *yes*, *no* or *other*: lower-cased, stripped, full stops removed; then the whole word, or a single
//! `y`/`n`, or the first four characters are searched, *yes* before *no*. So `I know` is other, `know` and `nothing` are no.
//! Per category: `100·mean + 100·share of pictures with both right`, averaged over pictures (at most 200). Perception
//! sums ten categories, cognition the other four.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The categories of the perception half; every other one counts as cognition.
pub const PERCEPTION: [&str; 10] = [
    "existence",
    "count",
    "position",
    "color",
    "posters",
    "celebrity",
    "scene",
    "landmark",
    "artwork",
    "OCR",
];

/// What a reply says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// The truth, or the reply up to its fourth character, says yes.
    Yes,
    /// It says no.
    No,
    /// Neither; always wrong.
    Other,
}

/// What a reply says.
pub fn label(reply: &str) -> Label {
    let reply = reply.to_lowercase().trim().replace('.', "");
    match reply.as_str() {
        "yes" | "y" => return Label::Yes,
        "no" | "n" => return Label::No,
        _ => {}
    }
    let start: String = reply.chars().take(4).collect();
    if start.contains("yes") {
        Label::Yes
    } else if start.contains("no") {
        Label::No
    } else {
        Label::Other
    }
}

/// Whether the reply says what the truth says.
pub fn is_match(answer: &str, truth: &str) -> bool {
    let truth = label(truth);
    truth != Label::Other && label(answer) == truth
}

/// One answered question of MME.
#[derive(Debug, Clone, PartialEq)]
pub struct MmeItem<'a> {
    /// Category, e.g. `color`.
    pub category: &'a str,
    /// The picture's id, which its two questions share.
    pub question_id: &'a str,
    /// Whether the reply was right.
    pub correct: bool,
}

/// MME's numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MmeReport {
    /// Score of each category, at most 200.
    pub categories: BTreeMap<String, f64>,
    /// Sum over the perception categories, at most 2000.
    pub perception: f64,
    /// Sum over the other categories, at most 800.
    pub cognition: f64,
}

/// Pictures that do not have exactly two questions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("MME needs two questions per picture; these have another number: {}", .0.join(", "))]
pub struct NotPaired(
    /// `category/question id (number of questions)`, sorted.
    pub Vec<String>,
);

/// Aggregate all questions of MME, or of some categories of it.
pub fn mme_report<'a>(items: impl IntoIterator<Item = MmeItem<'a>>) -> Result<MmeReport, NotPaired> {
    let mut pictures: BTreeMap<&str, BTreeMap<&str, Vec<bool>>> = BTreeMap::new();
    for item in items {
        pictures.entry(item.category).or_default().entry(item.question_id).or_default().push(item.correct);
    }
    let mut unpaired = Vec::new();
    let mut report = MmeReport { categories: BTreeMap::new(), perception: 0.0, cognition: 0.0 };
    for (category, pairs) in &pictures {
        let mut sum = 0.0;
        for (question_id, correct) in pairs {
            match correct[..] {
                [true, true] => sum += 200.0,
                [true, false] | [false, true] => sum += 50.0,
                [false, false] => {}
                _ => unpaired.push(format!("{category}/{question_id} ({})", correct.len())),
            }
        }
        let score = sum / pairs.len() as f64;
        report.categories.insert((*category).to_owned(), score);
        *(if PERCEPTION.contains(category) { &mut report.perception } else { &mut report.cognition }) +=
            score;
    }
    if unpaired.is_empty() { Ok(report) } else { Err(NotPaired(unpaired)) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn replies_are_read_leniently_from_their_first_four_characters() {
        for reply in ["yes", "Yes.", " YES, it is", "y", "(yes)", "yes and no"] {
            assert_eq!(label(reply), Label::Yes, "{reply}");
        }
        for reply in ["no", "N", "No, it is not", "nothing", "know", "a no"] {
            assert_eq!(label(reply), Label::No, "{reply}");
        }
        for reply in ["", "x", "I know", "a yes", "the answer is yes", "true"] {
            assert_eq!(label(reply), Label::Other, "{reply}");
        }
        assert!(!is_match("red", "red"));
    }

    #[test]
    fn scores_by_hand() {
        let item = |category, question_id, correct| MmeItem { category, question_id, correct };
        let report = mme_report([
            item("color", "1.jpg", true),
            item("color", "2.jpg", true),
            item("color", "1.jpg", true),
            item("color", "2.jpg", false),
            item("code_reasoning", "1.jpg", false),
            item("code_reasoning", "1.jpg", true),
        ])
        .unwrap();
        // color: (200 + 50) / 2; one right of two: 50.
        assert_eq!((report.categories["color"], report.perception, report.cognition), (125.0, 125.0, 50.0));
    }

    #[test]
    fn a_picture_without_a_pair_is_an_error_that_names_it() {
        let item = |question_id| MmeItem { category: "count", question_id, correct: true };
        let error = mme_report([item("a"), item("b"), item("b"), item("b")]).unwrap_err();
        assert_eq!(error, NotPaired(vec!["count/a (1)".into(), "count/b (3)".into()]));
    }
}
