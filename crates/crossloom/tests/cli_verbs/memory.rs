//! What does not fit is refused before anything is written.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;

use crate::support::{Said, crossloom_in, workspace};

/// Runs the program under `ulimit -v`, in KiB.
fn limited(folder: &Path, kib: u64, arguments: &[&str]) -> Said {
    let script = format!("ulimit -v {kib} && exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_crossloom")]).args(arguments);
    command.current_dir(folder).env("NO_COLOR", "1").env("RAYON_NUM_THREADS", "2");
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

#[test]
fn a_run_above_the_resource_limit_is_refused_with_need_limit_and_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = workspace().join("recipes/synthetic.toml");
    let recipe = recipe.to_str().unwrap();
    let huge = ["run", recipe, "--variant", "projector", "--set", "train.batch_size=5000"];
    limited(folder.path(), 2 << 20, &huge).exits(1).complains(&[
        "variant `projector` needs",
        "left by the resource limit `ulimit -v`",
        "activations and gradients",
        "train.batch_size",
        "--force-memory",
    ]);
    assert!(!folder.path().join("runs").exists(), "nothing is written");

    // Tried all the same, it gets as far as the system lets it.
    let forced: Vec<&str> = huge.into_iter().chain(["--force-memory"]).collect();
    let said = limited(folder.path(), 2 << 20, &forced).exits(1);
    assert!(!said.err.contains("--force-memory"), "{}", said.err);
    let run = std::fs::read_dir(folder.path().join("runs")).unwrap().next().unwrap().unwrap().path();
    let record: serde_json::Value =
        serde_json::from_slice(&std::fs::read(run.join("run.json")).unwrap()).unwrap();
    let notes = record["notes"].as_array().unwrap().iter().map(|note| note.as_str().unwrap());
    let note = notes.clone().find(|note| note.starts_with("`projector` was tried although it needs "));
    let note = note.unwrap_or_else(|| panic!("{:?}", notes.collect::<Vec<_>>()));
    assert!(note.contains("ulimit -v"), "{note}");
    said.complains(&[note]);
}

#[test]
fn the_null_backend_explains_and_does_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = workspace().join("recipes/synthetic.toml");
    let recipe = recipe.to_str().unwrap();
    let plan = ["compile", recipe, "--variant", "projector", "--backend", "null", "--json"];
    let compiled = crossloom_in(folder.path(), &plan).exits(0).json();
    assert_eq!(compiled["variants"][0]["plans"][0]["backend"], "null");
    let run = ["run", recipe, "--variant", "projector", "--backend", "null"];
    crossloom_in(folder.path(), &run).exits(1).complains(&["null", "runs nothing", "choose another backend"]);
    assert!(!folder.path().join("runs").exists(), "nothing is written");
    crossloom_in(folder.path(), &["run", recipe, "--backend", "tpu"])
        .exits(2)
        .complains(&["auto", "cpu", "null"]);
}

#[test]
fn doctor_tells_the_tightest_limit_and_the_kernels() {
    let folder = tempfile::tempdir().unwrap();
    let found = limited(folder.path(), 2 << 20, &["doctor", "--json"]).exits(0).json();
    assert_eq!(found["limit"]["source"]["of"], "ulimit -v");
    assert_eq!(found["limit"]["total"], 2_u64 << 30);
    assert!(found["instruction_set"].is_string());
}
