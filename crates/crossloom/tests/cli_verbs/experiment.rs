//! What a run does with its folder, its data and its numbers.

use std::fs;
use std::path::{Path, PathBuf};

use crossloom_train::run_dir::RunDir;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Said, crossloom_in, folder_with, program, workspace};

/// A model that is trained in well under a second.
pub(crate) const MODEL: &str = r#"
name = "tiny"

[model.vision]
family = "vit"
image_size = 16
patch_size = 8
hidden = 16
layers = 1
heads = 2
mlp = 16
post_norm = true

[model.language]
family = "llama"
hidden = 16
layers = 1
heads = 2
kv_heads = 1
mlp = 16
max_positions = 128

[topology]
input = "post_norm"
"#;

const RECIPE: &str = r#"
[data]
source = { kind = "synthetic", train_images = 24, test_images = 24, questions_per_image = 3 }
questions_per_sequence = 3

[train]
steps = 4
batch_size = 4
lr = 3e-3
warmup = 1
log_every = 2

[eval]
permutations = 200
"#;

/// Two models and one without the picture.
pub(crate) const VARIANTS: &str = r#"
[variants.a]
baseline = true
[variants.b]
train.lr = 1e-3
[variants.blind]
data.image = "withheld"
"#;

pub(crate) fn folder(more: &str) -> TempDir {
    folder_with(&[("tiny.toml", &format!("{MODEL}{RECIPE}{more}"))])
}

pub(crate) fn verb(folder: &TempDir, verb: &str, more: &[&str]) -> Said {
    crossloom_in(folder.path(), &[&[verb, "tiny.toml"], more].concat())
}

/// The only run.
pub(crate) fn run_of(folder: &TempDir) -> PathBuf {
    let mut runs = fs::read_dir(folder.path().join("runs")).unwrap().map(|entry| entry.unwrap().path());
    let run = runs.next().unwrap();
    assert_eq!(runs.next(), None);
    run
}

pub(crate) fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(crate) fn columns(comparison: &Value) -> Vec<&str> {
    comparison["columns"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect()
}

#[test]
fn a_sweep_runs_and_is_shown_and_evaluated() {
    let folder =
        folder("[sweep]\nmatrix.\"train.lr\" = [0.001, 0.002]\nmatrix.\"train.betas\" = [[0.8, 0.9]]\n");
    let document = verb(&folder, "run", &["--json"]).exits(0).json();
    let names = ["tiny,lr=0.001,betas=0.8+0.9", "tiny,lr=0.002,betas=0.8+0.9"];
    assert_eq!(columns(&document["comparison"]), names);
    let said = crossloom_in(folder.path(), &["runs", "show", "tiny"]).exits(0);
    assert!(names.iter().all(|name| said.out.contains(&format!("variant {name}"))), "{}", said.out);
    let again = verb(&folder, "eval", &["--json"]).exits(0).json();
    assert_eq!(again["comparison"], document["comparison"]);
    let pair = format!("tiny/{}", names[1]);
    crossloom_in(folder.path(), &["runs", "compare", &pair]).exits(0);
}

#[test]
fn a_variant_whose_name_cannot_be_a_folder_stops_the_run_before_it_trains() {
    let long = "n".repeat(201);
    let folder = folder(&format!("[variants.a]\n[variants.{long}]\n"));
    let said = verb(&folder, "run", &[]);
    assert!(said.code != Some(0) && said.err.contains(&long), "{}", said.err);
    assert!(!folder.path().join("runs").exists());
}

#[test]
fn data_that_cannot_be_had_leaves_no_run_behind() {
    let out = tempfile::tempdir().unwrap();
    let runs = out.path().join("runs");
    let mut messages = Vec::new();
    for _ in 0..2 {
        let mut command = program(&workspace());
        command.args(["run", "recipes/quickstart.toml", "--out"]).arg(&runs).env("PATH", out.path());
        command.env("CROSSLOOM_CACHE", out.path().join("cache"));
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        messages.push(said);
        assert!(!runs.exists(), "nothing was recorded");
    }
    assert_eq!(messages[0], messages[1], "the second try fails for the same reason");
}

#[test]
fn a_failed_run_without_checkpoints_is_begun_anew() {
    let folder = folder(VARIANTS);
    verb(&folder, "train", &["--variant", "a"]).exits(0);
    let run = run_of(&folder);
    fs::remove_dir_all(run.join("a/checkpoints")).unwrap();
    let record = fs::read_to_string(run.join("run.json")).unwrap();
    let failed = record.replacen("\"trained\"", "\"failed\",\n    \"error\": \"no space\"", 1);
    fs::write(run.join("run.json"), failed).unwrap();
    fs::write(run.join("notes.txt"), "").unwrap();
    verb(&folder, "run", &["--variant", "a"]).exits(0);
    assert_eq!(json(&run.join("run.json"))["status"]["state"], "finished");
    assert!(run.join("notes.txt").exists(), "only --force clears the folder");
}

#[test]
fn a_lone_reference_is_evaluated_and_later_compared() {
    let folder = folder(VARIANTS);
    let said = verb(&folder, "run", &["--variant", "blind"]).exits(0);
    assert!(
        said.out.contains("there is no model to compare") && said.out.contains("blind: 0."),
        "{}",
        said.out
    );
    let run = run_of(&folder);
    assert_eq!(json(&run.join("run.json"))["status"]["state"], "finished");
    assert!(fs::read_to_string(run.join("report.html")).unwrap().contains("no model to compare"));

    // Another variant of the same recipe joins it, without --resume.
    let document = verb(&folder, "run", &["--variant", "a", "--json"]).exits(0).json();
    assert_eq!(columns(&document["comparison"]), ["a", "blind"]);
    assert_eq!(document["comparison"]["columns"][1]["role"], "reference");
    let record = json(&run.join("run.json"));
    let variants: Vec<&String> = record["variants"].as_object().unwrap().keys().collect();
    assert_eq!(variants, ["a", "blind"], "in the recipe's order");
    assert_eq!(record["variants"]["blind"]["role"], "reference");
}

#[test]
fn evaluating_one_variant_keeps_the_others_in_the_comparison() {
    let folder = folder(VARIANTS);
    let whole = verb(&folder, "run", &["--json"]).exits(0).json();
    let one = verb(&folder, "eval", &["--variant", "b", "--json"]).exits(0).json();
    assert_eq!(one["comparison"], whole["comparison"]);
    let run = run_of(&folder);
    assert_eq!(json(&run.join("comparison.json")), whole["comparison"]);
    // Answers to other questions are not compared.
    let limited = ["--variant", "b", "--set", "eval.limit=30", "--json"];
    let said = verb(&folder, "eval", &limited).exits(0).complains(&["`a` was evaluated with other settings"]);
    assert_eq!(columns(&said.json()["comparison"]), ["b"]);
    assert_eq!(lines(&run.join("b/samples.jsonl")).len(), 30);
    assert_eq!(said.json()["comparison"]["columns"][0]["results"]["failed"], 0);
}

#[test]
fn a_refused_evaluation_writes_nothing() {
    let folder = folder(VARIANTS);
    verb(&folder, "eval", &[])
        .exits(2)
        .complains(&["holds no checkpoint of `a`, `b`, `blind`", "crossloom train"]);
    assert!(!folder.path().join("runs").exists());
}

#[test]
fn force_replaces_what_was_chosen_and_nothing_that_is_in_use() {
    let folder = folder(VARIANTS);
    verb(&folder, "run", &[]).exits(0);
    let run = run_of(&folder);
    fs::write(run.join("a/mark"), "").unwrap();
    fs::write(run.join("b/mark"), "").unwrap();
    {
        let _lock = RunDir::open(&run).unwrap().lock().unwrap();
        verb(&folder, "run", &["--force"]).exits(1).complains(&["is in use by another process"]);
        assert!(run.join("a/mark").exists(), "a run in use is not touched");
    }
    let document = verb(&folder, "run", &["--force", "--variant", "b", "--json"]).exits(0).json();
    assert_eq!(columns(&document["comparison"]), ["a", "b", "blind"]);
    assert!(run.join("a/mark").exists() && !run.join("b/mark").exists());
    verb(&folder, "run", &["--force"]).exits(0);
    assert!(!run.join("a/mark").exists());
}

#[test]
fn a_run_continues_with_other_settings_for_logging_and_scoring() {
    let folder = folder("");
    verb(&folder, "run", &["--resume"]).exits(2).complains(&["nothing to resume", "leave --resume out"]);
    assert!(!folder.path().join("runs").exists());
    verb(&folder, "run", &[]).exits(0);
    let run = run_of(&folder);
    let before = json(&run.join("run.json"));
    let other = ["--resume", "--set", "train.log_every=1", "--set", "eval.limit=9", "--json"];
    let said = verb(&folder, "run", &other).exits(0);
    assert!(said.err.contains("continues after step 4"), "{}", said.err);
    assert_eq!(said.json()["comparison"]["columns"][0]["results"]["overall"]["samples"], 9);
    // Nothing was trained again, so what is known of the training stays.
    let after = json(&run_of(&folder).join("run.json"));
    let (before, after) = (&before["variants"]["tiny"], &after["variants"]["tiny"]);
    for key in ["final_loss", "step_ms", "checkpoint", "steps", "parameters"] {
        assert!(!before[key].is_null() && before[key] == after[key], "{key}: {before} {after}");
    }
    for phase in ["compile", "train", "evaluate"] {
        let seconds = |entry: &Value| entry["seconds"][phase].as_f64().unwrap();
        assert!(seconds(after) > seconds(before), "{phase}");
    }
    // Another recipe has another folder, and the hint says what differs.
    verb(&folder, "run", &["--resume", "--set", "train.lr=0.5"])
        .exits(2)
        .complains(&["nothing to resume", "train.lr: 0.003 → 0.5"]);
    verb(&folder, "eval", &["--set", "train.lr=0.5"]).exits(2).complains(&["train.lr: 0.003 → 0.5"]);
}

#[test]
fn training_alone_ends_as_trained_and_records_what_is_needed_to_repeat_it() {
    let folder = folder(VARIANTS);
    verb(&folder, "train", &["--variant", "a"]).exits(0);
    let run = run_of(&folder);
    let record = json(&run.join("run.json"));
    let variant = &record["variants"]["a"];
    assert_eq!(
        (&record["status"]["state"], &variant["status"]["state"]),
        (&"trained".into(), &"trained".into())
    );
    assert!(run.join(variant["checkpoint"].as_str().unwrap()).join("manifest.json").exists());
    assert_eq!(variant["seeds"]["train"], 0);
    let kernels = variant["kernel_choices"].as_object().unwrap();
    assert!(kernels.keys().any(|site| site.starts_with("train %")), "{kernels:?}");
    for phase in ["encode", "prefill", "decode"] {
        assert!(kernels.keys().any(|site| site.starts_with(&format!("{phase} %"))), "{kernels:?}");
    }
    assert!(variant["step_ms"].as_f64().unwrap() > 0.0);
    let data = &record["data"][0];
    assert_eq!((&data["name"], &data["sha256"]), (&"synthetic".into(), &"".into()));
    assert_eq!(data["content"]["train"].as_str().unwrap().len(), 64);
}

#[test]
fn held_out_pictures_are_measured_and_scored_and_never_trained() {
    let folder = folder("");
    let sets = ["--set", "data.validation=0.25", "--set", "eval.split='validation'", "--json"];
    let document = verb(&folder, "run", &sets).exits(0).json();
    let run = run_of(&folder);
    let overall = &document["comparison"]["columns"][0]["results"]["overall"];
    assert_eq!(overall["clusters"], 6);
    let record = json(&run.join("run.json"));
    let splits = &record["data"][0]["splits"];
    assert_eq!(overall["samples"], splits["validation"]);
    let metrics = lines(&run.join("tiny/metrics.jsonl"));
    let held_out: Vec<(u64, bool)> = (metrics.iter())
        .filter(|record| record["phase"] == "validate")
        .map(|record| (record["step"].as_u64().unwrap(), record["held_out_loss"].is_number()))
        .collect();
    assert_eq!(held_out, [(1, true), (2, true), (3, true), (4, true)]);
    let report = fs::read_to_string(run.join("report.html")).unwrap();
    assert!(report.contains("Dots: held-out data."));
    assert!(report.contains("over the validation questions, in percent"));
    // The same pictures are scored in every run, and trained on without the hold-out.
    let ids = |path: &Path| -> Vec<Value> { lines(path).iter().map(|r| r["image"].clone()).collect() };
    let first = ids(&run.join("tiny/samples.jsonl"));
    verb(&folder, "eval", &sets).exits(0);
    assert_eq!(ids(&run.join("tiny/samples.jsonl")), first);
    verb(&folder, "eval", &["--set", "data.validation=0.25", "--set", "eval.split='train'"]).exits(0);
    let trained = ids(&run.join("tiny/samples.jsonl"));
    assert_eq!(Some(trained.len() as u64), splits["train"].as_u64());
    assert!(trained.iter().all(|picture| !first.contains(picture)), "{first:?} {trained:?}");
}

#[test]
fn answers_that_are_cut_are_told() {
    let folder = folder("");
    let said = verb(&folder, "run", &["--set", "eval.max_new_tokens=1"]).exits(0);
    assert!(said.out.contains("answers were cut at the longest length"), "{}", said.out);
}

#[cfg(unix)]
#[test]
fn an_argument_that_is_no_text_is_no_reason_to_fail() {
    use std::os::unix::ffi::OsStrExt;
    let folder = folder("");
    let out = std::ffi::OsStr::from_bytes(b"runs\xff");
    let output = program(folder.path()).args(["run", "tiny.toml", "--out"]).arg(out).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(folder.path().join(out).is_dir());
}

#[test]
fn a_run_whose_comparison_cannot_be_written_has_failed() {
    let folder = folder(VARIANTS);
    verb(&folder, "run", &["--variant", "a"]).exits(0);
    let run = run_of(&folder);
    fs::remove_file(run.join("comparison.txt")).unwrap();
    fs::create_dir(run.join("comparison.txt")).unwrap();
    verb(&folder, "eval", &["--variant", "a"]).exits(1).complains(&["comparison.txt"]);
    let status = &json(&run.join("run.json"))["status"];
    assert_eq!(status["state"], "failed");
    assert!(status["error"].as_str().unwrap().contains("comparison.txt"), "{status}");
    fs::remove_dir(run.join("comparison.txt")).unwrap();
    verb(&folder, "eval", &["--variant", "a"]).exits(0);
    assert_eq!(json(&run.join("run.json"))["status"]["state"], "finished");
}
