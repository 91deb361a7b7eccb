//! Properties that hold for every metric and every text.

use crossloom_eval::Metric;
use crossloom_eval::metrics::{exact_match, score, vqa_accuracy};
use proptest::prelude::*;

/// Metrics whose score of an answer against itself is 1 for every text.
const REFLEXIVE: [Metric; 2] = [Metric::ExactMatch, Metric::Anls];

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn scores_lie_between_zero_and_one_for_any_text(answer in ".{0,40}", truth in prop::collection::vec(".{0,40}", 0..11)) {
        for metric in Metric::ALL {
            let score = score(metric, &answer, &truth);
            prop_assert!((0.0..=1.0).contains(&score), "{metric:?}: {score}");
        }
    }

    #[test]
    fn an_answer_equal_to_the_truth_is_right(text in ".{0,40}") {
        for metric in REFLEXIVE {
            prop_assert_eq!(score(metric, &text, std::slice::from_ref(&text)), 1.0);
        }
        prop_assert_eq!(score(Metric::VqaAccuracy, &text, &vec![text.clone(); 10]), 1.0);
    }

    #[test]
    fn more_references_never_hurt(answer in "[a-z ]{0,12}", truth in prop::collection::vec("[a-z ]{0,12}", 1..5)) {
        for metric in [Metric::ExactMatch, Metric::RelaxedAccuracy, Metric::Anls, Metric::YesNo, Metric::Mme] {
            let fewer = score(metric, &answer, &truth[1..]);
            prop_assert!(score(metric, &answer, &truth) >= fewer);
        }
    }

    #[test]
    fn normal_forms_are_stable(text in ".{0,40}") {
        let once = exact_match::normalise(&text).trim().to_owned();
        prop_assert_eq!(exact_match::normalise(&once), once);
    }

    #[test]
    fn vqa_accuracy_counts_votes(votes in 0_usize..=10) {
        let truth: Vec<String> = (0..10).map(|i| if i < votes { "red" } else { "blue" }.to_owned()).collect();
        // Leaving one out: `votes` of the ten see one vote less.
        let share = |others: usize| (others as f64 / 3.0).min(1.0);
        let expected = (votes as f64 * share(votes.saturating_sub(1)) + (10 - votes) as f64 * share(votes)) / 10.0;
        let score = score(Metric::VqaAccuracy, "Red", &truth);
        prop_assert!((score - expected).abs() < 1e-12);
    }
}

/// Made once by running lmms-eval's `EvalAIAnswerProcessor` on the left side.
#[test]
fn normal_forms_are_those_of_the_reference() {
    for line in include_str!("../data/vqa_normal_forms.tsv").lines() {
        let (text, expected) = line.split_once('\t').unwrap();
        assert_eq!(
            vqa_accuracy::normalise(&text.replace("\\n", "\n").replace("\\t", "\t")),
            expected,
            "{text:?}"
        );
    }
}
