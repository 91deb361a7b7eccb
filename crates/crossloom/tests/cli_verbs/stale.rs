//! What was trained, answered or recorded before is used only where it still holds.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::experiment::{VARIANTS, columns, folder, json, run_of, verb};
use crate::support::{Said, crossloom_in};

/// Keeps the checkpoint of every step.
const ALL_STEPS: [&str; 4] = ["--set", "train.checkpoint_every=1", "--set", "train.keep_checkpoints=9"];

fn kept(folder: &TempDir, name: &str, more: &[&str]) -> Said {
    verb(folder, name, &[&ALL_STEPS[..], more].concat())
}

fn state(run: &Path) -> Value {
    json(&run.join("run.json"))["status"]["state"].clone()
}

/// As if training had been stopped after step 2.
fn back_to_step_2(run: &Path, variant: &str) {
    for step in [3, 4] {
        fs::remove_dir_all(run.join(format!("{variant}/checkpoints/step-{step}"))).unwrap();
    }
}

#[test]
fn answers_of_another_step_are_not_compared_and_half_a_training_is_told() {
    let folder = folder(VARIANTS);
    let whole = kept(&folder, "run", &["--json"]).exits(0).json();
    let run = run_of(&folder);
    back_to_step_2(&run, "b");
    // The answers of `b` are those of step 4, which is not there.
    let said = kept(&folder, "eval", &["--variant", "a", "--json"]).exits(0);
    assert_eq!(columns(&said.json()["comparison"]), ["a", "blind"]);
    said.complains(&["`b` was evaluated with other settings or at another step"]);

    let said = kept(&folder, "eval", &["--variant", "b"]).exits(0);
    assert!(said.out.contains("warning: `b` was trained for 2 of 4 steps."), "{}", said.out);
    assert!(fs::read_to_string(run.join("report.html")).unwrap().contains("Only trained for 2 of 4 steps."));
    let record = json(&run.join("run.json"));
    assert_eq!(record["status"]["state"], "interrupted");
    let b = &record["variants"]["b"];
    assert_eq!((&b["status"]["state"], &b["steps"]), (&"interrupted".into(), &2.into()));
    assert_eq!(b["evaluated_as"]["step"], "2");

    // Training on forgets the answers, whether or not new ones follow.
    kept(&folder, "train", &["--variant", "b", "--resume"]).exits(0);
    assert!(!run.join("b/results.json").exists() && !run.join("b/samples.jsonl").exists());
    assert_eq!(json(&run.join("run.json"))["variants"]["b"]["evaluated_as"], serde_json::json!({}));
    let again = kept(&folder, "run", &["--resume", "--json"]).exits(0).json();
    assert_eq!(again["comparison"], whole["comparison"]);
    assert_eq!(state(&run), "finished");
}

#[test]
fn all_variants_must_ask_the_same_also_those_that_are_not_run() {
    let folder = folder(&format!("{VARIANTS}[variants.other]\ndata.seed = 5\n"));
    for chosen in [&["--variant", "a"][..], &["--variant", "other"], &[]] {
        verb(&folder, "run", chosen).exits(2).complains(&["variant `other` uses other data than `a`"]);
    }
    assert!(!folder.path().join("runs").exists());
}

#[test]
fn runs_that_were_asked_different_questions_are_not_compared() {
    let folder = folder(VARIANTS);
    let run = |more: &[&str]| {
        let said =
            verb(&folder, "run", &[&["--variant", "a", "--set", "eval.limit=12", "--json"], more].concat())
                .exits(0);
        format!("{}/a", said.json()["run"].as_str().unwrap())
    };
    let (one, other) = (run(&[]), run(&["--set", "data.seed=9"]));
    crossloom_in(folder.path(), &["runs", "compare", &one, &other])
        .exits(1)
        .complains(&["were asked different questions", "the same split of the same data"]);
}

#[test]
fn a_damaged_record_is_not_replaced_unasked() {
    let folder = folder(VARIANTS);
    verb(&folder, "run", &["--variant", "a"]).exits(0);
    let run = run_of(&folder);
    fs::write(run.join("run.json"), "{").unwrap();
    for (name, more) in [
        ("run", &["--variant", "a", "--resume"][..]),
        ("eval", &["--variant", "a"]),
        ("run", &["--variant", "b"]),
        ("run", &["--variant", "b", "--force"]),
    ] {
        verb(&folder, name, more).exits(1).complains(&["run.json is damaged"]);
        assert_eq!(fs::read_to_string(run.join("run.json")).unwrap(), "{");
        assert!(run.join("a/results.json").exists());
    }
    // Without any record, a new one is begun.
    fs::remove_file(run.join("run.json")).unwrap();
    verb(&folder, "eval", &["--variant", "a"]).exits(0);
    fs::write(run.join("run.json"), "{").unwrap();
    verb(&folder, "run", &["--force"]).exits(0);
    assert_eq!(state(&run), "finished");
}

#[test]
fn a_run_does_not_continue_on_other_data() {
    let folder = folder(VARIANTS);
    verb(&folder, "run", &["--variant", "a"]).exits(0);
    let run = run_of(&folder);
    let record = fs::read_to_string(run.join("run.json")).unwrap();
    let hash = json(&run.join("run.json"))["data"][0]["content"]["train"].as_str().unwrap().to_owned();
    let other = record.replace(&hash, &"0".repeat(64));
    fs::write(run.join("run.json"), &other).unwrap();
    for (name, more) in [
        ("run", &["--variant", "a", "--resume"][..]),
        ("eval", &["--variant", "a"]),
        ("run", &["--variant", "b"]),
    ] {
        verb(&folder, name, more)
            .exits(2)
            .complains(&["the train split of synthetic has changed", "--force"]);
    }
    assert_eq!(fs::read_to_string(run.join("run.json")).unwrap(), other);
    verb(&folder, "run", &["--force"]).exits(0);
}

#[test]
fn forcing_one_variant_leaves_the_others_as_they_are() {
    let folder = folder(VARIANTS);
    verb(&folder, "train", &["--variant", "a"]).exits(0);
    let run = run_of(&folder);
    // `a` has failed before its first checkpoint; what it wrote down may say why.
    fs::remove_dir_all(run.join("a/checkpoints")).unwrap();
    verb(&folder, "run", &["--variant", "b", "--force"]).exits(0);
    assert!(run.join("a/metrics.jsonl").exists());
    assert!(json(&run.join("run.json"))["variants"]["a"].is_object());
}

#[test]
fn a_comparison_of_models_that_are_out_is_removed() {
    let folder = folder(VARIANTS);
    verb(&folder, "run", &[]).exits(0);
    let run = run_of(&folder);
    assert!(run.join("comparison.txt").exists() && run.join("comparison.json").exists());
    let blind = ["--variant", "blind", "--set", "eval.limit=9"];
    let said = verb(&folder, "eval", &blind).exits(0);
    assert!(said.out.contains("there is no model to compare"), "{}", said.out);
    assert!(!run.join("comparison.txt").exists() && !run.join("comparison.json").exists());
}

#[test]
fn answers_that_could_not_be_replaced_are_not_taken_for_answers() {
    let folder = folder(VARIANTS);
    verb(&folder, "run", &[]).exits(0);
    let run = run_of(&folder);
    fs::remove_file(run.join("a/samples.jsonl")).unwrap();
    fs::create_dir(run.join("a/samples.jsonl")).unwrap();
    verb(&folder, "eval", &["--variant", "a"]).exits(1).complains(&["samples.jsonl"]);
    assert_eq!(json(&run.join("run.json"))["variants"]["a"]["evaluated_as"], serde_json::json!({}));
    let said = verb(&folder, "eval", &["--variant", "b", "--json"]).exits(0);
    assert_eq!(columns(&said.json()["comparison"]), ["b", "blind"]);
}

#[test]
fn gates_that_do_not_depend_on_the_picture_are_told_everywhere() {
    let out = tempfile::tempdir().unwrap();
    let arguments = [
        "recipes/synthetic.toml",
        "--variant",
        "cli",
        "--out",
        out.path().to_str().unwrap(),
        "--set",
        "data.source={ kind = 'synthetic', train_images = 12, test_images = 6, questions_per_image = 2 }",
        "--set",
        "train.steps=1",
        "--set",
        "train.warmup=0",
        "--set",
        "train.batch_size=4",
        "--set",
        "variants.cli.topology.gate.bias_init=-30",
    ];
    let workspace = crate::support::workspace();
    let note = "12 of 12 gates are closed for every sample: they do not depend on the picture";
    let said = crossloom_in(&workspace, &[&["run"], &arguments[..]].concat()).exits(0);
    said.complains(&[&format!("`cli`: {note}")]);
    let run = fs::read_dir(out.path()).unwrap().next().unwrap().unwrap().path();
    assert!(fs::read_to_string(run.join("report.html")).unwrap().contains(&format!("cli: {note}")));
    let shown = crossloom_in(&workspace, &["runs", "show", run.to_str().unwrap()]).exits(0);
    assert!(shown.out.contains(note), "{}", shown.out);
}
