//! Real runs: to the end, refused, interrupted, continued.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{crossloom, program, workspace};

/// Small enough for a debug build.
const SMALL: [&str; 10] = [
    "--set",
    "data.source={ kind = 'synthetic', train_images = 24, test_images = 8, questions_per_image = 2 }",
    "--set",
    "train.steps=4",
    "--set",
    "variants.question_only.train.steps=2",
    "--set",
    "train.batch_size=4",
    "--set",
    "train.warmup=1",
];

fn run(out: &Path, more: &[&str]) -> crate::support::Said {
    let out = ["--out", out.to_str().unwrap()];
    crossloom(&[&["run", "recipes/synthetic.toml"], &out[..], &SMALL[..], more].concat())
}

#[test]
fn a_run_ends_with_a_table_and_a_second_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let said = run(folder.path(), &[]).exits(0);
    assert!(said.out.contains("cli - projector (points)") && said.out.contains("report: "), "{}", said.out);
    for line in
        ["projector: compiling", "cli: training", "question_only: evaluating", "cli: train 4/4, loss "]
    {
        assert!(said.err.contains(line), "`{line}` is not in:\n{}", said.err);
    }
    run(folder.path(), &[]).exits(2).complains(&["error: ", "help: ", "--resume", "--force"]);

    let said = run(folder.path(), &["--force", "--json", "--quiet"]).exits(0);
    assert_eq!(said.err, "");
    let document = said.json();
    assert_eq!(document["comparison"]["columns"].as_array().unwrap().len(), 3);
    assert!(Path::new(document["run"].as_str().unwrap()).join("run.json").exists());
}

#[test]
fn a_variant_that_is_not_there_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &["--variant", "clip"]).exits(2).complains(&["no variant `clip`"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[cfg(unix)]
#[test]
fn an_interrupt_in_training_writes_a_checkpoint_and_exits_with_130() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = program(&workspace());
    command.args(["run", "recipes/synthetic.toml", "--variant", "projector", "--out"]).arg(folder.path());
    command.args(SMALL).args(["--set", "train.steps=1000000"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut err = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("projector: training") {
        line.clear();
        assert_ne!(err.read_line(&mut line).unwrap(), 0, "it ended before it trained");
    }
    std::thread::sleep(std::time::Duration::from_millis(300));
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let mut rest = String::new();
    err.read_to_string(&mut rest).unwrap();
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!((child.wait().unwrap().code(), out.as_str()), (Some(130), ""), "{rest}");
    assert!(rest.contains("stopping after this step") && rest.contains("--resume continues"), "{rest}");

    let run = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let record = std::fs::read_to_string(run.join("run.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["status"]["state"], "interrupted");
    let steps = record["variants"]["projector"]["steps"].as_u64().unwrap();
    assert!(steps > 0 && run.join(format!("projector/checkpoints/step-{steps}")).is_dir(), "{record}");
    let names: Vec<String> = (std::fs::read_dir(run.join("projector/checkpoints")).unwrap())
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.iter().all(|name| !name.contains("tmp")), "nothing half-written is left: {names:?}");
}
