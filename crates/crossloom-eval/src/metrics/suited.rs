//! Whether a data set has what a metric needs.

use std::collections::BTreeMap;

use super::{Metric, binary};
use crate::samples::Question;

/// Fewer human answers cannot give a full score: three others must agree with one that is left out.
const LEAST_ANSWERS: usize = 4;

/// Questions that a metric cannot score as its benchmark defines it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the metric `{}` needs {needs}, and {found} of {asked} questions are without, such as {first}",
    metric.name()
)]
pub struct Unsuited {
    /// The one that was asked for.
    pub metric: Metric,
    /// What it needs, such as `a reference answer that is yes or no`.
    pub needs: &'static str,
    /// Questions that lack it.
    pub found: usize,
    /// All questions.
    pub asked: usize,
    /// The first of them, with its reference answers.
    pub first: String,
}

/// Whether every question has what the metric needs: a reference answer; for VQA accuracy at least four; for `yes_no` and
/// `mme` the answer yes or no; for `mme` also one other question of its type about its picture.
pub fn check(metric: Metric, questions: &[Question]) -> Result<(), Unsuited> {
    let is_binary = |question: &Question| {
        !question.truth.is_empty()
            && question
                .truth
                .iter()
                .all(|truth| binary::is_match(truth, "yes") || binary::is_match(truth, "no"))
    };
    let lacking = |needs: &'static str, has: &dyn Fn(&Question) -> bool| {
        let without: Vec<&Question> = questions.iter().filter(|question| !has(question)).collect();
        let Some(first) = without.first() else { return Ok(()) };
        let first = format!("`{}` ({})", first.text, first.truth.join(", "));
        Err(Unsuited { metric, needs, found: without.len(), asked: questions.len(), first })
    };
    match metric {
        Metric::ExactMatch | Metric::RelaxedAccuracy | Metric::Anls => {
            lacking("a reference answer per question", &|question| !question.truth.is_empty())
        }
        Metric::VqaAccuracy => lacking("at least 4 reference answers per question", &|question| {
            question.truth.len() >= LEAST_ANSWERS
        }),
        Metric::YesNo => lacking("the reference answer yes or no", &is_binary),
        Metric::Mme => {
            lacking("the reference answer yes or no", &is_binary)?;
            let mut of_picture: BTreeMap<(&str, &str), usize> = BTreeMap::new();
            for question in questions {
                *of_picture.entry((&question.kind, &question.image)).or_default() += 1;
            }
            lacking("two questions of a type per picture", &|question| {
                of_picture[&(question.kind.as_str(), question.image.as_str())] == 2
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(image: &str, truth: &[&str]) -> Question {
        Question {
            id: String::new(),
            image: image.into(),
            text: "is it red?".into(),
            kind: "color".into(),
            truth: truth.iter().map(|&truth| truth.to_owned()).collect(),
        }
    }

    #[test]
    fn a_metric_takes_the_questions_of_its_benchmark_and_no_others() {
        let one = [question("a", &["red"]), question("a", &["yes"])];
        let fits = |questions: &[Question]| -> Vec<&str> {
            let fits = Metric::ALL.into_iter().filter(|&metric| check(metric, questions).is_ok());
            fits.map(Metric::name).collect()
        };
        assert_eq!(fits(&one), ["exact_match", "relaxed_accuracy", "anls"]);
        assert_eq!(fits(&one[1..]), ["exact_match", "relaxed_accuracy", "anls", "yes_no"]);
        let pair = [question("a", &["Yes"]), question("a", &["no"])];
        assert_eq!(fits(&pair), ["exact_match", "relaxed_accuracy", "anls", "yes_no", "mme"]);
        assert_eq!(
            fits(&[question("a", &["red"; 10])]),
            ["exact_match", "relaxed_accuracy", "anls", "vqa_accuracy"]
        );
        assert_eq!(fits(&[question("a", &[])]), [""; 0]);
        let error = check(Metric::VqaAccuracy, &one).map_err(|error| error.to_string());
        let expected = "the metric `vqa_accuracy` needs at least 4 reference answers per question, and 2 of 2 questions are \
                        without, such as `is it red?` (red)";
        assert_eq!(error, Err(expected.to_owned()));
    }
}
