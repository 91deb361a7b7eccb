//! Strict yes/no scoring of POPE.
//!
//! A reply is right only if it *is* the word: lower-cased and stripped, nothing else is removed. So `Yes.` is wrong for
//! accuracy and is neither a yes nor a no for precision and recall: a model that ends every reply with a full stop
//! collapses to an F1 of 0. Recall looks only at replies that are one of the two words, so other replies to a true *yes*
//! do not lower it. The yes ratio is that of the **truth** (as lmms-eval computes it); that of the replies is given beside
//! it.

use serde::{Deserialize, Serialize};

/// Whether the stripped, lower-cased reply equals the stripped, lower-cased truth.
pub fn is_match(answer: &str, truth: &str) -> bool {
    word(answer) == word(truth)
}

fn word(text: &str) -> String {
    text.to_lowercase().trim().to_owned()
}

/// Aggregates over many yes/no questions, with *yes* as the positive class.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BinaryReport {
    /// Questions.
    pub count: u64,
    /// Share of right replies.
    pub accuracy: f64,
    /// Right yes among all yes replies; 0 where there is none.
    pub precision: f64,
    /// Right yes among yes and no replies to true yes; 0 where there is none.
    pub recall: f64,
    /// Harmonic mean of precision and recall; 0 where both are.
    pub f1: f64,
    /// Share of true yes.
    pub truth_yes_ratio: f64,
    /// Share of yes replies.
    pub answer_yes_ratio: f64,
    /// Replies that are neither yes nor no.
    pub neither: u64,
}

/// A truth that is neither yes nor no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("question {index} has the truth `{truth}`, expected yes or no")]
pub struct NotBinary {
    /// Position in the input.
    pub index: usize,
    /// Stripped and in lower case.
    pub truth: String,
}

/// Aggregate (answer, truth) pairs, pooled over all subsets as POPE's headline number is. An empty input gives zeros.
pub fn binary_report<'a>(
    pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<BinaryReport, NotBinary> {
    let (mut count, mut right, mut neither, mut true_yes, mut said_yes) = (0_u64, 0_u64, 0_u64, 0_u64, 0_u64);
    let (mut true_positives, mut false_positives, mut false_negatives) = (0_u64, 0_u64, 0_u64);
    for (index, (answer, truth)) in pairs.into_iter().enumerate() {
        let (answer, truth) = (word(answer), word(truth));
        let is_yes = match truth.as_str() {
            "yes" => true,
            "no" => false,
            _ => return Err(NotBinary { index, truth }),
        };
        count += 1;
        right += u64::from(answer == truth);
        true_yes += u64::from(is_yes);
        match (answer.as_str(), is_yes) {
            ("yes", true) => true_positives += 1,
            ("yes", false) => false_positives += 1,
            ("no", true) => false_negatives += 1,
            ("no", false) => {}
            _ => neither += 1,
        }
        said_yes += u64::from(answer == "yes");
    }
    let ratio = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    let precision = ratio(true_positives, true_positives + false_positives);
    let recall = ratio(true_positives, true_positives + false_negatives);
    let f1 = if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 };
    Ok(BinaryReport {
        count,
        accuracy: ratio(right, count),
        precision,
        recall,
        f1,
        truth_yes_ratio: ratio(true_yes, count),
        answer_yes_ratio: ratio(said_yes, count),
        neither,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn counts_by_hand() {
        let pairs = [("Yes", "yes"), ("yes", "no"), (" no\n", "no"), ("no", "yes"), ("YES", "yes")];
        let report = binary_report(pairs).unwrap();
        // 2 true positives, 1 false positive, 1 false negative.
        assert_eq!((report.count, report.accuracy, report.neither), (5, 0.6, 0));
        assert_eq!((report.precision, report.recall), (2.0 / 3.0, 2.0 / 3.0));
        assert!((report.f1 - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!((report.truth_yes_ratio, report.answer_yes_ratio), (0.6, 0.6));
    }

    #[test]
    fn a_full_stop_after_every_reply_collapses_everything() {
        let report = binary_report([("Yes.", "yes"), ("No.", "no")]).unwrap();
        assert_eq!((report.accuracy, report.precision, report.recall, report.f1), (0.0, 0.0, 0.0, 0.0));
        assert_eq!(report.neither, 2);
    }

    #[test]
    fn a_reply_that_is_no_word_of_the_two_does_not_lower_recall() {
        let report = binary_report([("yes", "yes"), ("maybe", "yes")]).unwrap();
        assert_eq!((report.accuracy, report.recall, report.f1), (0.5, 1.0, 1.0));
    }

    #[test]
    fn nothing_gives_zeros_and_a_truth_that_is_no_yes_or_no_is_an_error() {
        assert_eq!(binary_report([]).unwrap().f1, 0.0);
        let error = binary_report([("yes", "yes"), ("yes", "red")]).unwrap_err();
        assert_eq!(error, NotBinary { index: 1, truth: "red".into() });
    }
}
