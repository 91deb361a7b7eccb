//! Answers are scored by the metric that the recipe chooses, or not at all.

use crossloom_recipe::Metric;
use crossloom_train::run_dir::RunDir;

use crate::support::{Entry, finish, recipe, try_run};

const SHORT: [&str; 3] = ["train.steps=2", "train.warmup=1", "variants.question_only.train.steps=2"];

#[test]
fn the_metric_of_the_recipe_scores_answers_and_is_named_wherever_scores_stand() {
    let folder = tempfile::tempdir().unwrap();
    let exact = recipe(&SHORT);
    let first = finish(&exact, &["projector", "cli"], folder.path(), Entry::New);
    assert_eq!(first.variants[0].results.metric, Metric::ExactMatch);

    // Another metric asks for no training, and does not take scores of the old one.
    let anls = recipe(&[&SHORT[..], &["eval.metric=anls"]].concat());
    let second = finish(&anls, &["cli"], folder.path(), Entry::Resume);
    assert_eq!(second.dir.path(), first.dir.path());
    let names: Vec<&str> = second.variants.iter().map(|v| v.name.as_str()).collect();
    assert_eq!(names, ["cli"], "what exact match scored is not joined");
    assert_eq!(second.variants[0].results.metric, Metric::Anls);
    assert_eq!(second.comparison.as_ref().unwrap().metric, Metric::Anls);
    for record in &second.variants[0].records {
        let score = crossloom_eval::metrics::anls::anls(record.answer.as_deref().unwrap(), &record.truth);
        assert_eq!(record.score, score);
    }
    let record = RunDir::open(second.dir.path()).unwrap().read_record().unwrap();
    assert_eq!(record.variants["cli"].evaluated_as["metric"], "anls");
    let table = std::fs::read_to_string(second.dir.path().join("comparison.txt")).unwrap();
    assert!(table.contains("ANLS, mean per question, from 0 to 1"), "{table}");
    let page = std::fs::read_to_string(&second.report).unwrap();
    assert!(page.contains("ANLS, %") && page.contains("Best ANLS"), "the report does not name the metric");
}

#[test]
fn a_metric_that_the_data_cannot_be_scored_with_is_refused_before_anything_is_written() {
    for (metric, lacks) in
        [("vqa_accuracy", "at least 4 reference answers"), ("yes_no", "yes or no"), ("mme", "yes or no")]
    {
        let folder = tempfile::tempdir().unwrap();
        let set = format!("eval.metric={metric}");
        let Err(error) = try_run(&recipe(&[&set]), &["cli"], folder.path(), Entry::New) else {
            panic!("{metric} scored what it cannot")
        };
        let error = error.to_string();
        assert!(error.contains(&format!("the metric `{metric}` needs")) && error.contains(lacks), "{error}");
        assert!(error.contains("`exact_match`, `relaxed_accuracy`, `anls`"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "something was written");
    }
}

#[test]
fn variants_are_compared_by_one_metric() {
    let folder = tempfile::tempdir().unwrap();
    let mixed = recipe(&["variants.cli.eval.metric=anls"]);
    let Err(error) = try_run(&mixed, &["cli"], folder.path(), Entry::New) else {
        panic!("two metrics were compared")
    };
    assert!(error.to_string().contains("`cli` is scored by `anls`, `projector` by `exact_match`"), "{error}");
}
