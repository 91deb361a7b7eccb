//! Benchmark metrics, each as lmms-eval computes it, with its quirks, so that numbers can be compared with published ones.
//!
//! One file per metric. [`Metric`] scores one answer; [`binary`] and [`mme`] also aggregate in ways that a mean cannot.

pub mod anls;
pub mod binary;
pub mod exact_match;
pub mod mme;
pub mod relaxed_accuracy;
pub mod vqa_accuracy;

use serde::{Deserialize, Serialize};

/// A score of one answer against one or more reference answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Equal text up to case, punctuation and outer white space; see [`exact_match`].
    ExactMatch,
    /// ChartQA's numbers within 5 %; see [`relaxed_accuracy`].
    RelaxedAccuracy,
    /// Average normalised Levenshtein similarity of DocVQA; see [`anls`].
    Anls,
    /// VQA accuracy over ten human answers; see [`vqa_accuracy`].
    VqaAccuracy,
    /// Strict yes/no of POPE; see [`binary`].
    YesNo,
    /// Lenient yes/no of MME; see [`mme`].
    Mme,
}

impl Metric {
    /// Every metric.
    pub const ALL: [Self; 6] =
        [Self::ExactMatch, Self::RelaxedAccuracy, Self::Anls, Self::VqaAccuracy, Self::YesNo, Self::Mme];

    /// The name that recipes and results use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ExactMatch => "exact_match",
            Self::RelaxedAccuracy => "relaxed_accuracy",
            Self::Anls => "anls",
            Self::VqaAccuracy => "vqa_accuracy",
            Self::YesNo => "yes_no",
            Self::Mme => "mme",
        }
    }

    /// The metric of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.name() == name)
    }

    /// Score of `answer` in `[0, 1]`: the best over `truths`, except that VQA accuracy and ANLS combine them as their
    /// benchmarks do. No truths give 0.
    pub fn score(self, answer: &str, truths: &[String]) -> f64 {
        let any =
            |matches: &dyn Fn(&str) -> bool| f64::from(u8::from(truths.iter().any(|truth| matches(truth))));
        match self {
            Self::ExactMatch => any(&|truth| exact_match::exact_match(answer, truth)),
            Self::RelaxedAccuracy => any(&|truth| relaxed_accuracy::relaxed_match(answer, truth)),
            Self::Anls => anls::anls(answer, truths),
            Self::VqaAccuracy => vqa_accuracy::vqa_accuracy(answer, truths),
            Self::YesNo => any(&|truth| binary::is_match(answer, truth)),
            Self::Mme => any(&|truth| mme::is_match(answer, truth)),
        }
    }

    /// Whether a score counts as a right answer where right and wrong are counted (McNemar's test, reports): at least one
    /// half, which is ANLS's own threshold and what a majority of three votes means in VQA accuracy.
    pub fn is_correct(self, score: f64) -> bool {
        score >= 0.5
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_found_by_its_name_and_serialised_as_it() {
        for metric in Metric::ALL {
            assert_eq!(Metric::from_name(metric.name()), Some(metric));
            assert_eq!(serde_json::to_value(metric).ok(), Some(metric.name().into()));
        }
        assert_eq!(Metric::from_name("accuracy"), None);
    }

    #[test]
    fn no_reference_answer_scores_zero_and_the_best_of_several_counts() {
        let truths = ["red".to_owned(), "yes".to_owned()];
        for metric in Metric::ALL {
            assert_eq!(metric.score("yes", &[]), 0.0, "{metric:?}");
            if metric != Metric::VqaAccuracy {
                assert_eq!(metric.score("yes", &truths), 1.0, "{metric:?}");
            }
        }
    }
}
