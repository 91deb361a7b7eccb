//! Benchmark metrics, each as lmms-eval computes it, with its quirks, so that numbers can be compared with published ones.
//!
//! One file per metric. [`Metric`] is a recipe's choice among them; [`score`] scores one answer, [`check`] says whether the
//! questions have what the metric needs, and [`Benchmark`] is what [`binary`] and [`mme`] make of all answers where a mean
//! is not what their benchmarks report.

pub mod anls;
pub mod binary;
pub mod exact_match;
pub mod mme;
pub mod relaxed_accuracy;
mod suited;
pub mod vqa_accuracy;

use serde::{Deserialize, Serialize};

pub use self::suited::{Unsuited, check};
use crate::samples::SampleRecord;
use crate::stats::StatsError;
pub use crossloom_recipe::Metric;

/// The metric's name in tables and sentences. Its unit is always a share: a mean score per question, from 0 to 1.
pub const fn title(metric: Metric) -> &'static str {
    match metric {
        Metric::ExactMatch => "exact match",
        Metric::RelaxedAccuracy => "relaxed accuracy",
        Metric::Anls => "ANLS",
        Metric::VqaAccuracy => "VQA accuracy",
        Metric::YesNo => "yes/no accuracy",
        Metric::Mme => "MME accuracy",
    }
}

/// What the score means, to be read after the metric's name and a colon.
pub const fn meaning(metric: Metric) -> &'static str {
    match metric {
        Metric::ExactMatch => {
            "the part of the answers that are a reference answer up to case and punctuation"
        }
        Metric::RelaxedAccuracy => {
            "the part of the answers that are the reference text, or a number within 5 % of it"
        }
        Metric::Anls => "the part of an answer's characters that need no edit, 0 below one half, on average",
        Metric::VqaAccuracy => "the agreement with several human answers to the question, on average",
        Metric::YesNo => "the part of the replies that are the right one of the words yes and no",
        Metric::Mme => "the part of the replies that begin with the right one of yes and no",
    }
}

/// Score of `answer` in `[0, 1]`: the best over `truths`, except that VQA accuracy and ANLS combine them as their
/// benchmarks do. No truths give 0.
pub fn score(metric: Metric, answer: &str, truths: &[String]) -> f64 {
    let any = |matches: &dyn Fn(&str) -> bool| f64::from(u8::from(truths.iter().any(|truth| matches(truth))));
    match metric {
        Metric::ExactMatch => any(&|truth| exact_match::exact_match(answer, truth)),
        Metric::RelaxedAccuracy => any(&|truth| relaxed_accuracy::relaxed_match(answer, truth)),
        Metric::Anls => anls::anls(answer, truths),
        Metric::VqaAccuracy => vqa_accuracy::vqa_accuracy(answer, truths),
        Metric::YesNo => any(&|truth| binary::is_match(answer, truth)),
        Metric::Mme => any(&|truth| mme::is_match(answer, truth)),
    }
}

/// Whether a score counts as a right answer where right and wrong are counted (McNemar's test, reports): at least one
/// half, which is ANLS's own threshold and what a majority of three votes means in VQA accuracy.
pub fn is_right(score: f64) -> bool {
    score >= 0.5
}

/// What a benchmark reports of all answers together, besides their mean score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Benchmark {
    /// POPE's precision, recall and F1.
    YesNo(binary::BinaryReport),
    /// MME's sums over categories.
    Mme(mme::MmeReport),
}

impl Benchmark {
    /// What the benchmark of a metric makes of answered samples. `None` where the benchmark reports a mean, and for MME
    /// where a sample failed: half a pair has no score.
    pub(crate) fn of(metric: Metric, records: &[SampleRecord]) -> Result<Option<Self>, StatsError> {
        match metric {
            Metric::YesNo => {
                let pairs = records.iter().filter_map(|record| {
                    Some((record.answer.as_deref()?, record.truth.first().map_or("", String::as_str)))
                });
                let report = binary::binary_report(pairs)?;
                Ok(Some(Self::YesNo(report)))
            }
            Metric::Mme if !records.iter().any(SampleRecord::is_failed) => {
                let items = records.iter().map(|record| mme::MmeItem {
                    category: &record.kind,
                    question_id: &record.image,
                    correct: record.correct,
                });
                Ok(Some(Self::Mme(mme::mme_report(items)?)))
            }
            _ => Ok(None),
        }
    }

    /// In words, for tables and reports.
    pub fn to_text(&self) -> String {
        match self {
            Self::YesNo(report) => format!(
                "precision {:.3}, recall {:.3}, F1 {:.3} with yes as the positive class; {} of {} replies are neither yes nor no",
                report.precision, report.recall, report.f1, report.neither, report.count
            ),
            Self::Mme(report) => {
                let categories: Vec<String> =
                    report.categories.iter().map(|(name, score)| format!("{name} {score:.1}")).collect();
                format!(
                    "MME perception {:.1}, cognition {:.1}; of 200 points each: {}",
                    report.perception,
                    report.cognition,
                    categories.join(", ")
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::samples::{Answer, Question};

    #[test]
    fn no_reference_answer_scores_zero_and_the_best_of_several_counts() {
        let truths = ["red".to_owned(), "yes".to_owned()];
        for metric in Metric::ALL {
            assert_eq!(score(metric, "yes", &[]), 0.0, "{metric:?}");
            if metric != Metric::VqaAccuracy {
                assert_eq!(score(metric, "yes", &truths), 1.0, "{metric:?}");
            }
        }
    }

    fn record(metric: Metric, image: &str, truth: &str, answer: Option<&str>) -> SampleRecord {
        let question = Question {
            id: format!("{image} {truth}"),
            image: image.into(),
            text: "is it red?".into(),
            kind: "color".into(),
            truth: vec![truth.into()],
        };
        match answer {
            Some(text) => {
                SampleRecord::answered(&question, Answer { text: text.into(), finished: true }, metric)
            }
            None => SampleRecord::failed(&question, "unreadable"),
        }
    }

    #[test]
    fn benchmarks_that_are_no_mean_report_what_they_define() {
        let yes_no = |answer| record(Metric::YesNo, "a", "yes", Some(answer));
        let records = [yes_no("yes"), yes_no("no"), yes_no("Yes."), record(Metric::YesNo, "b", "no", None)];
        let Some(Benchmark::YesNo(report)) = Benchmark::of(Metric::YesNo, &records).unwrap() else {
            panic!("POPE has a report")
        };
        // One right yes of one yes said; of the two replies that are a word, one was right. The failed one is in none.
        assert_eq!((report.count, report.precision, report.recall, report.neither), (3, 1.0, 0.5, 1));

        let mme = |truth, answer| record(Metric::Mme, "a", truth, answer);
        let pair = [mme("yes", Some("Yes, it is")), mme("no", Some("yes"))];
        let text = Benchmark::of(Metric::Mme, &pair).unwrap().unwrap().to_text();
        assert_eq!(text, "MME perception 50.0, cognition 0.0; of 200 points each: color 50.0");
        assert_eq!(Benchmark::of(Metric::Mme, &[mme("yes", None), mme("no", Some("no"))]), Ok(None));
        assert!(matches!(Benchmark::of(Metric::Mme, &pair[..1]), Err(StatsError::NotPaired(_))));
        assert_eq!(Benchmark::of(Metric::ExactMatch, &pair), Ok(None));
    }
}
