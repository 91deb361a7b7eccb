//! The question-only prior: what can be had without looking at the picture.
//!
//! For every question text the most frequent training answer is given. No model sees fewer than that from the text alone,
//! so the trained question-only model should land near it, and a model that uses the picture far above.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::metrics::{self, Metric};
use crate::samples::Question;

/// Scores of the prior on a test set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prior {
    /// What scores its answers.
    pub metric: Metric,
    /// Mean score over all test questions.
    pub overall: f64,
    /// Mean score of every question type, sorted by type.
    pub by_type: BTreeMap<String, f64>,
    /// Test questions.
    pub samples: usize,
    /// Test questions whose text training never saw; they get the overall most frequent answer.
    pub unseen: usize,
    /// The prior's answer to every test question, in order.
    pub answers: Vec<String>,
}

/// Train the prior on (question, answer) pairs and score it on `test`. Question texts are compared stripped and in lower
/// case; of equally frequent answers the alphabetically first is taken. Empty inputs give zeros.
pub fn question_only_prior<'a>(
    train: impl IntoIterator<Item = (&'a str, &'a str)>,
    test: &[Question],
    metric: Metric,
) -> Prior {
    let mut counts: BTreeMap<String, BTreeMap<&str, u64>> = BTreeMap::new();
    let mut all: BTreeMap<&str, u64> = BTreeMap::new();
    for (question, answer) in train {
        *counts.entry(key(question)).or_default().entry(answer).or_default() += 1;
        *all.entry(answer).or_default() += 1;
    }
    let fallback = most_frequent(&all).unwrap_or_default();
    let (mut unseen, mut answers) = (0, Vec::with_capacity(test.len()));
    let mut sums: BTreeMap<&str, (f64, u64)> = BTreeMap::new();
    for question in test {
        let answer = counts.get(&key(&question.text)).and_then(most_frequent).unwrap_or_else(|| {
            unseen += 1;
            fallback
        });
        let sum = sums.entry(&question.kind).or_default();
        sum.0 += metrics::score(metric, answer, &question.truth);
        sum.1 += 1;
        answers.push(answer.to_owned());
    }
    let total: f64 = sums.values().map(|(sum, _)| sum).sum();
    Prior {
        metric,
        overall: total / test.len().max(1) as f64,
        by_type: sums.iter().map(|(kind, (sum, count))| ((*kind).to_owned(), sum / *count as f64)).collect(),
        samples: test.len(),
        unseen,
        answers,
    }
}

fn key(question: &str) -> String {
    question.trim().to_lowercase()
}

fn most_frequent<'a>(counts: &BTreeMap<&'a str, u64>) -> Option<&'a str> {
    // Reversed, because the last of several maxima wins.
    counts.iter().rev().max_by_key(|(_, count)| **count).map(|(answer, _)| *answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(text: &str, kind: &str, truth: &str) -> Question {
        let truth = vec![truth.to_owned()];
        Question { id: String::new(), image: String::new(), text: text.into(), kind: kind.into(), truth }
    }

    #[test]
    fn the_majority_answer_of_each_question_is_scored() {
        let train = [
            ("what color?", "red"),
            ("what color?", "blue"),
            ("What color? ", "blue"),
            ("is it red?", "yes"),
            ("is it red?", "no"),
            ("is it red?", "no"),
            ("is it red?", "no"),
        ];
        let test = [
            question("what color?", "color", "blue"),
            question("what color?", "color", "red"),
            question("is it red?", "yes/no", "no"),
            question("what shape?", "shape", "circle"),
        ];
        let prior = question_only_prior(train, &test, Metric::ExactMatch);
        assert_eq!(prior.answers, ["blue", "blue", "no", "no"]);
        assert_eq!((prior.overall, prior.unseen, prior.samples), (0.5, 1, 4));
        let by_type: Vec<(&str, f64)> =
            prior.by_type.iter().map(|(kind, &score)| (kind.as_str(), score)).collect();
        assert_eq!(by_type, [("color", 0.5), ("shape", 0.0), ("yes/no", 1.0)]);
    }

    #[test]
    fn ties_go_to_the_alphabetically_first_and_empty_inputs_are_zero() {
        let prior =
            question_only_prior([("q", "b"), ("q", "a")], &[question("q", "t", "a")], Metric::ExactMatch);
        assert_eq!(prior.overall, 1.0);
        assert_eq!(question_only_prior([], &[], Metric::ExactMatch).overall, 0.0);
        assert_eq!(question_only_prior([], &[question("q", "t", "a")], Metric::ExactMatch).unseen, 1);
    }
}
