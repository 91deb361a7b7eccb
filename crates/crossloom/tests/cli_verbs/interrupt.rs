//! Real runs: to the end, refused, interrupted, continued.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Said, crossloom, program, workspace};

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

/// Four by four red pixels.
pub(crate) const RED_PNG: [u8; 73] = [
    137, 80, 78, 71, 13, 10, 26, 10, 0, 0, 0, 13, 73, 72, 68, 82, 0, 0, 0, 4, 0, 0, 0, 4, 8, 2, 0, 0, 0, 38,
    147, 9, 41, 0, 0, 0, 16, 73, 68, 65, 84, 120, 218, 99, 248, 207, 192, 0, 71, 12, 196, 113, 0, 174, 147,
    15, 241, 56, 94, 140, 17, 0, 0, 0, 0, 73, 69, 78, 68, 174, 66, 96, 130,
];

fn verb(verb: &str, out: &Path, more: &[&str]) -> Said {
    let out = ["--out", out.to_str().unwrap()];
    crossloom(&[&[verb, "recipes/synthetic.toml"], &out[..], &SMALL[..], more].concat())
}

fn run(out: &Path, more: &[&str]) -> Said {
    verb("run", out, more)
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

#[test]
fn training_then_evaluating_is_what_running_is() {
    let (whole, halves) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let cli = ["--variant", "cli", "--json"];
    let at_once = run(whole.path(), &cli).exits(0).json();
    verb("eval", halves.path(), &cli).exits(2).complains(&["error: ", "crossloom train"]);
    let trained = verb("train", halves.path(), &cli).exits(0).json();
    assert!(!Path::new(trained["run"].as_str().unwrap()).join("cli/results.json").exists());
    let evaluated = verb("eval", halves.path(), &cli).exits(0);
    assert!(!evaluated.err.contains("cli: train"), "{}", evaluated.err);
    assert_eq!(evaluated.json()["comparison"], at_once["comparison"]);
}

#[test]
fn a_trained_variant_answers_questions_about_a_picture() {
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("red.png");
    let path = picture.to_str().unwrap();
    let ask = |question| {
        let asked = ["--variant", "cli", "--image", path, "--question", question, "--json"];
        verb("generate", folder.path(), &asked)
    };
    ask("what color is the shape?").exits(2).complains(&["was not run", "crossloom run"]);
    run(folder.path(), &["--variant", "cli"]).exits(0);
    ask("what color is the shape?").exits(1).complains(&["red.png"]);
    std::fs::write(&picture, &RED_PNG[..60]).unwrap();
    ask("what color is the shape?").exits(1).complains(&["red.png"]);
    std::fs::write(&picture, RED_PNG).unwrap();
    ask("what colour is the xylophone?").exits(1).complains(&["xylophone"]);
    let document = ask("what color is the shape?").exits(0).json();
    assert_eq!(document["answers"][0]["question"], "what color is the shape?");
    assert!(document["answers"][0]["answer"].is_string());
    assert!(document["answers"][0]["finished"].is_boolean());
    // A picture has 16 positions, and its gates pool all of them.
    let asked = ["--variant", "cli", "--image", path, "--question", "what color is the shape?", "--json"];
    let cut =
        |positions| verb("generate", folder.path(), &[&asked[..], &["--prefill-chunk", positions]].concat());
    assert_eq!(cut("17").exits(0).json(), document);
    cut("15").exits(2).complains(&["take 16 positions", "15 are read at once", "--prefill-chunk"]);
    let asked = ["--variant", "cli", "--image", path, "--question", "what color\nis the shape?"];
    let table = verb("generate", folder.path(), &asked).exits(0).out;
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows.len() == 2 && rows[1].starts_with("what color is the shape?"), "{table}");
    // A question by itself, or through a pipe, is the same question.
    let asked = ["--variant", "cli", "--image", path, "--json"];
    let by_itself = verb("generate", folder.path(), &[&asked[..], &["what color is the shape?"]].concat())
        .exits(0)
        .json();
    assert_eq!(by_itself, document);
    let piped =
        piped("generate", folder.path(), &[&asked[..], &["-"]].concat(), "what color is the shape?\n");
    assert_eq!(piped.exits(0).json(), document);
    verb("generate", folder.path(), &asked).exits(2).complains(&["there is no question"]);
    let drawn = |seed: &str| {
        let more = ["--temperature", "1.5", "--seed", seed, "what color is the shape?"];
        verb("generate", folder.path(), &[&asked[..], &more].concat()).exits(0).json()
    };
    assert_eq!(drawn("3"), drawn("3"));
    let hot = [&asked[..], &["--temperature", "-1", "red?"]].concat();
    verb("generate", folder.path(), &hot).exits(2);
    let sum = [&asked[..], &["--top-p", "0", "red?"]].concat();
    verb("generate", folder.path(), &sum).exits(2).complains(&["`top_p` is 0", "--top-p"]);

    // In half the memory, and as a folder that stands by itself.
    let rounded = verb(
        "generate",
        folder.path(),
        &[&asked[..], &["--cache", "bf16", "what color is the shape?"]].concat(),
    );
    assert!(rounded.exits(0).json()["answers"][0]["answer"].is_string());
    verb("generate", folder.path(), &[&asked[..], &["--cache", "f16", "red?"]].concat())
        .exits(2)
        .complains(&["f16", "bf16"]);
    let runs = std::fs::read_dir(folder.path()).unwrap();
    let run = runs.map(|entry| entry.unwrap().path()).find(|path| path.join("run.json").exists()).unwrap();
    let bundle = folder.path().join("bundle");
    let bundle = bundle.to_str().unwrap();
    let export = ["model", "export", run.to_str().unwrap(), "--variant", "cli", "--bundle", "--out", bundle];
    crossloom(&export).exits(0);
    let of_bundle = ["generate", bundle, "--image", path, "--json", "what color is the shape?"];
    assert_eq!(crossloom(&of_bundle).exits(0).json()["answers"], document["answers"]);
    crossloom(&[&of_bundle[..], &["--variant", "cli"]].concat())
        .exits(2)
        .complains(&["has no variant `cli`", "leave --variant out"]);
    let nothing = folder.path().to_str().unwrap();
    crossloom(&["generate", nothing, "red?"]).exits(2).complains(&["is no run", "no model", "no bundle"]);

    // A conversation: questions one by one about the picture, and how its gates opened.
    let lines = format!(
        "/gates\nwhat color is the shape?\n/gates\nis there a xylophone?\n/image {path}\n/dance\nwhat color is the shape?\n/quit\nnever\n"
    );
    let said = self::piped("chat", folder.path(), &["--variant", "cli", "--image", path], &lines).exits(0);
    let answer = document["answers"][0]["answer"].as_str().unwrap();
    let rows: Vec<&str> = said.out.lines().collect();
    assert_eq!((rows[0], rows[rows.len() - 1]), (answer, answer), "{}", said.out);
    assert!(
        rows[1].starts_with("point") && rows.iter().filter(|row| row.contains("block.1")).count() == 3,
        "{}",
        said.out
    );
    said.complains(&["nothing was asked yet", "xylophone", "there is no `/dance`"]);
}

/// The same with a text on standard input.
fn piped(verb: &str, out: &Path, more: &[&str], text: &str) -> Said {
    let out = ["--out", out.to_str().unwrap()];
    let arguments = [&[verb, "recipes/synthetic.toml"], &out[..], &SMALL[..], more].concat();
    let mut child = (program(&workspace()).args(arguments))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

#[test]
fn an_answer_that_is_cut_is_told_and_a_blind_variant_is_not_shown_a_picture() {
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("red.png");
    std::fs::write(&picture, RED_PNG).unwrap();
    let question = ["--image", picture.to_str().unwrap(), "--question", "what color is the shape?"];
    let short = ["--set", "eval.max_new_tokens=1", "--variant"];
    run(folder.path(), &[&short[..], &["cli"]].concat()).exits(0);
    let ask = |variant, more: &[&str]| {
        verb("generate", folder.path(), &[&short[..], &[variant], &question[..], more].concat())
    };
    let document = ask("cli", &["--json"]).exits(0).json();
    assert_eq!(document["answers"][0]["finished"], false, "{document}");
    let said = ask("cli", &[]).exits(0);
    assert!(said.out.contains("(cut at the longest length)"), "{}", said.out);
    ask("question_only", &[]).exits(2).complains(&["`question_only` was trained with the picture withheld"]);
}

#[cfg(unix)]
#[test]
fn an_interrupt_while_data_is_fetched_ends_the_program_that_fetches() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let (python, pid) = (folder.path().join("python3"), folder.path().join("pid"));
    std::fs::write(&python, format!("#!/bin/sh\necho $$ > {}\nexec sleep 60\n", pid.display())).unwrap();
    std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let runs = folder.path().join("runs");
    let mut command = program(&workspace());
    command.args(["run", "recipes/quickstart.toml", "--out"]).arg(&runs);
    command.env("PATH", path).env("CROSSLOOM_CACHE", folder.path().join("cache"));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let started = std::time::Instant::now();
    let fetching = loop {
        match std::fs::read_to_string(&pid) {
            Ok(text) if text.ends_with('\n') => break text,
            _ => assert!(started.elapsed().as_secs() < 50, "it fetches nothing"),
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("interrupted while the data was fetched"), "{said}");
    assert!(started.elapsed().as_secs() < 50, "it did not wait");
    assert!(!runs.exists(), "nothing was recorded");
    let alive = Command::new("kill").args(["-0", fetching.trim()]).stderr(Stdio::null()).status().unwrap();
    assert!(!alive.success(), "the program that fetches goes on");
}

/// A training that does not end by itself, begun by a shell that may ignore signals, once it trains.
#[cfg(unix)]
fn training(out: &Path, ignored: &str) -> (std::process::Child, BufReader<std::process::ChildStderr>) {
    let inner = program(&workspace());
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{ignored}\nexec \"$0\" \"$@\"")]).arg(inner.get_program());
    command.current_dir(inner.get_current_dir().unwrap()).env("NO_COLOR", "1").env("COLUMNS", "100");
    command.args(["run", "recipes/synthetic.toml", "--variant", "projector", "--out"]).arg(out);
    command.args(SMALL).args(["--set", "train.steps=1000000", "--set", "train.log_every=1"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut err = BufReader::new(child.stderr.take().unwrap());
    until(&mut err, "projector: train ");
    (child, err)
}

/// Reads lines up to one that says this.
#[cfg(unix)]
fn until(err: &mut impl BufRead, said: &str) {
    let mut line = String::new();
    while !line.contains(said) {
        line.clear();
        assert_ne!(err.read_line(&mut line).unwrap(), 0, "it ended before it said `{said}`");
    }
}

#[cfg(unix)]
fn send(signal: &str, to: &std::process::Child) {
    let sent = Command::new("kill").args([&format!("-{signal}"), &to.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// How far the only run below a folder came, once it ended: its state, the steps of `projector`, and what was said.
#[cfg(unix)]
fn interrupted(mut child: std::process::Child, err: &mut impl Read, out: &Path) -> (u64, String) {
    let mut rest = String::new();
    err.read_to_string(&mut rest).unwrap();
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(130), ""), "{rest}");
    let run = std::fs::read_dir(out).unwrap().next().unwrap().unwrap().path();
    let record = std::fs::read_to_string(run.join("run.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["status"]["state"], "interrupted");
    let steps = record["variants"]["projector"]["steps"].as_u64().unwrap();
    assert!(steps > 0 && run.join(format!("projector/checkpoints/step-{steps}")).is_dir(), "{record}");
    let names: Vec<String> = (std::fs::read_dir(run.join("projector/checkpoints")).unwrap())
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.iter().all(|name| !name.contains("tmp")), "nothing half-written is left: {names:?}");
    (steps, rest)
}

#[cfg(unix)]
#[test]
fn an_interrupt_in_training_writes_a_checkpoint_and_exits_with_130() {
    let folder = tempfile::tempdir().unwrap();
    let (child, mut err) = training(folder.path(), "");
    send("INT", &child);
    let (_, rest) = interrupted(child, &mut err, folder.path());
    assert!(
        rest.contains("Ctrl-C: stopping after this step") && rest.contains("--resume continues"),
        "{rest}"
    );
}

#[cfg(unix)]
#[test]
fn every_way_to_end_a_run_leaves_a_checkpoint_and_is_named() {
    for signal in ["TERM", "HUP", "QUIT", "USR1", "USR2", "XCPU"] {
        let folder = tempfile::tempdir().unwrap();
        let (child, mut err) = training(folder.path(), "");
        // A batch system may send more than one, and a session manager often does: only Ctrl-C can be impatient.
        for _ in 0..3 {
            send(signal, &child);
        }
        let (_, rest) = interrupted(child, &mut err, folder.path());
        assert!(rest.contains(&format!("SIG{signal}: stopping after this step with a checkpoint")), "{rest}");
    }
}

#[cfg(unix)]
#[test]
fn what_was_ignored_when_the_run_began_stays_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let (child, mut err) = training(folder.path(), "trap '' HUP INT QUIT");
    for signal in ["HUP", "INT", "QUIT", "INT"] {
        send(signal, &child);
    }
    // It trains on.
    std::thread::sleep(std::time::Duration::from_millis(300));
    until(&mut err, "projector: train ");
    send("TERM", &child);
    let (_, rest) = interrupted(child, &mut err, folder.path());
    assert!(rest.contains("SIGTERM: stopping"), "{rest}");
    for ignored in ["Ctrl-C", "SIGHUP", "SIGQUIT"] {
        assert!(!rest.contains(ignored), "{rest}");
    }
}

#[cfg(unix)]
#[test]
fn the_folder_of_a_run_that_is_removed_under_it_is_an_error_and_is_not_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("runs");
    let (mut child, mut err) = training(&out, "");
    // In one step, as the run goes on writing while files are removed one by one.
    std::fs::rename(&out, folder.path().join("gone")).unwrap();
    std::fs::remove_dir_all(folder.path().join("gone")).unwrap();
    let mut rest = String::new();
    err.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{rest}");
    assert!(rest.contains("error: ") && rest.contains("metrics.jsonl") && rest.contains("removed"), "{rest}");
    assert!(!out.exists(), "it was made anew");
}

#[cfg(unix)]
#[test]
fn a_run_that_was_killed_is_listed_as_interrupted_and_one_that_works_as_running() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, err) = training(folder.path(), "");
    let out = folder.path().to_str().unwrap().to_owned();
    let state = || {
        let listed = crossloom(&["runs", "ls", "--out", &out, "--json"]).exits(0).json();
        let shown = crossloom(&["runs", "show", "synthetic", "--out", &out]).exits(0).out;
        (listed["runs"][0]["state"].as_str().unwrap().to_owned(), shown)
    };
    let (listed, shown) = state();
    assert!(listed == "running" && shown.contains("running"), "{listed}\n{shown}");
    child.kill().unwrap();
    child.wait().unwrap();
    drop(err);
    let (listed, shown) = state();
    assert!(
        listed == "interrupted" && shown.contains("interrupted") && !shown.contains("running"),
        "{listed}\n{shown}"
    );
    let table = crossloom(&["runs", "ls", "--out", &out]).exits(0).out;
    assert!(table.contains("interrupted") && !table.contains("running"), "{table}");
}
