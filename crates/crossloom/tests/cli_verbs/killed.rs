//! Runs that end without a chance to clean up: killed while they write, and out of room.
#![cfg(unix)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{program, workspace};

/// So many that no run ends before it is killed.
const STEPS: usize = 60;

/// How many kills shall meet a checkpoint that is being written, and in how many rounds at most.
const HALF_WRITTEN: usize = 4;
const ROUNDS: usize = 20;

/// Trains `cli`, with a checkpoint after every step.
fn train(out: &Path) -> Command {
    let mut command = program(&workspace());
    command.args(["train", "recipes/synthetic.toml", "--variant", "cli", "--out"]).arg(out);
    for set in [
        "data.source={ kind = 'synthetic', train_images = 24, test_images = 8, questions_per_image = 2 }",
        "train.batch_size=4",
        "train.warmup=1",
        "train.log_every=1",
        "train.checkpoint_every=1",
        "train.keep_checkpoints=2",
        &format!("train.steps={STEPS}"),
    ] {
        command.args(["--set", set]);
    }
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn only_run(out: &Path) -> PathBuf {
    let mut runs = std::fs::read_dir(out).unwrap().map(|entry| entry.unwrap().path());
    let run = runs.next().unwrap();
    assert!(runs.next().is_none());
    run
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = (std::fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Whether a checkpoint is, or was when the program died, being written.
fn is_writing(checkpoints: &Path) -> bool {
    names(checkpoints).iter().any(|name| name.contains(".tmp"))
}

/// The last step of which there is a whole checkpoint.
fn last_step(checkpoints: &Path) -> usize {
    let steps = names(checkpoints).into_iter().filter_map(|name| name.strip_prefix("step-")?.parse().ok());
    steps.max().unwrap_or(0)
}

/// Every byte of the last checkpoint, and loss and gradient norm of every step.
fn result(out: &Path) -> (Vec<Vec<u8>>, Vec<(u64, String)>) {
    let variant = only_run(out).join("cli");
    let last = variant.join(format!("checkpoints/step-{STEPS}"));
    let files = ["model.safetensors", "optimizer.safetensors", "state.json"];
    let metrics = std::fs::read_to_string(variant.join("metrics.jsonl")).unwrap();
    let curve = metrics.lines().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let [loss, norm] = ["loss", "grad_norm"].map(|name| {
            assert!(line[name].is_number(), "no {name} in {line}");
            line[name].to_string()
        });
        (line["step"].as_u64().unwrap(), format!("{loss} {norm}"))
    });
    (files.map(|file| std::fs::read(last.join(file)).unwrap()).to_vec(), curve.collect())
}

#[test]
fn killed_in_the_middle_of_writing_and_continued_is_bitwise_the_same_as_never_killed() {
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert!(train(whole.path()).status().unwrap().success());

    let (mut half_written, mut rounds, mut done) = (0, 0, 0);
    while half_written < HALF_WRITTEN && rounds < ROUNDS && done < STEPS - 10 {
        let mut command = train(parts.path());
        if rounds > 0 {
            command.arg("--resume");
        }
        let mut child = command.spawn().unwrap();
        // Once a checkpoint is there the next step takes a moment, then the next checkpoint is being written.
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let saved = lines.find(|line| line.as_ref().unwrap().contains("saved "));
        assert!(saved.is_some(), "it ended without a checkpoint");
        let checkpoints = only_run(parts.path()).join("cli/checkpoints");
        while !is_writing(&checkpoints) && child.try_wait().unwrap().is_none() {
            std::thread::sleep(std::time::Duration::from_micros(250));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        half_written += usize::from(is_writing(&checkpoints));
        rounds += 1;
        done = last_step(&checkpoints);
    }
    assert!(half_written > 0, "none of {rounds} kills met a write, up to step {done}");

    let mut child = train(parts.path()).arg("--resume").spawn().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success(), "{said}");
    assert!(said.contains("continues after step "), "{said}");
    let left = names(&only_run(parts.path()).join("cli/checkpoints"));
    assert_eq!(
        left,
        ["latest".to_owned(), format!("step-{}", STEPS - 1), format!("step-{STEPS}")],
        "what was half-written is gone"
    );
    assert_eq!(result(parts.path()), result(whole.path()));
}

#[test]
fn a_checkpoint_for_which_there_is_no_room_is_an_error_and_leaves_nothing_half_written() {
    let folder = tempfile::tempdir().unwrap();
    let inner = train(folder.path());
    // Files of more than 64 KiB cannot be written, as on a disk that is full.
    let mut command = Command::new("bash");
    command.args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\""]).arg(inner.get_program());
    command.args(inner.get_args()).current_dir(inner.get_current_dir().unwrap());
    for (key, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in ["error: ", "checkpoints", "step-1"] {
        assert!(said.contains(part), "`{part}` is not in:\n{said}");
    }
    let run = only_run(folder.path());
    assert!(names(&run.join("cli/checkpoints")).is_empty(), "nothing half-written is left");
    let record = std::fs::read_to_string(run.join("run.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["status"]["state"], "failed");
    // With room again, the same command starts over.
    assert!(train(folder.path()).status().unwrap().success());
}
