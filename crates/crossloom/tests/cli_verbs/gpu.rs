//! `tests/gpu/run.sh` where there is no GPU: it says so, line by line, and takes nothing for a success.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{crossloom_in, workspace};

/// Runs the script on a folder; none where there is no Python.
fn script(folder: &Path) -> Option<Output> {
    let script = workspace().join("tests/gpu/run.sh");
    if !Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success()) {
        println!("skipped: there is no python3");
        return None;
    }
    // No wheels of this machine's Python, and no toolkit.
    let mut command = Command::new(script);
    command.arg(folder).env("CUDA_HOME", folder).env_remove("VIRTUAL_ENV").env_remove("CONDA_PREFIX");
    Some(command.env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap())
}

fn lines(folder: &Path) -> Vec<Value> {
    let results = std::fs::read_to_string(folder.join("results.json")).unwrap();
    let results: Value = serde_json::from_str(&results).unwrap();
    results["lines"].as_array().unwrap().clone()
}

#[test]
fn without_a_device_every_line_is_missing_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let found = crossloom_in(folder.path(), &["doctor", "--json"]).exits(0).json();
    if found["cuda"]["driver"]["devices"].as_array().is_some_and(|devices| !devices.is_empty()) {
        println!("skipped: this machine has a GPU, on which the script would run all");
        return;
    }
    let bin = folder.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::fs::copy(PathBuf::from(env!("CARGO_BIN_EXE_crossloom")), bin.join("crossloom")).unwrap();
    let Some(output) = script(folder.path()) else { return };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(3), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let lines = lines(folder.path());
    let states = |state: &str| lines.iter().filter(|line| line["state"] == state).count();
    assert_eq!((states("passed"), states("measured"), states("failed")), (0, 0, 1), "{text}");
    let device = lines.iter().find(|line| line["what"] == "device").unwrap();
    assert_eq!((&device["state"], &device["why"]), (&"failed".into(), &found["cuda"]["driver"]["problem"]));
    for what in ["ops, all forms", "training step, bf16", "determinism", "speed"] {
        let line = lines.iter().find(|line| line["what"] == what).unwrap_or_else(|| panic!("{what}: {text}"));
        assert_eq!(line["why"], "not measured: there is no device");
        assert!(text.lines().any(|line| line.contains(what) && line.contains("missing")), "{text}");
    }
    assert!(
        text.ends_with(&format!("0 passed, 0 measured, 1 failed, {} missing\n", lines.len() - 1)),
        "{text}"
    );
}

#[test]
fn a_folder_that_was_not_prepared_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let Some(output) = script(folder.path()) else { return };
    assert_eq!(output.status.code(), Some(3));
    let lines = lines(folder.path());
    assert_eq!((&lines[0]["what"], &lines[0]["state"]), (&"probe".into(), &"failed".into()));
    assert!(lines[0]["why"].as_str().unwrap().contains("prepare.sh makes it"));
}
