//! Stops on request, resume, and what cannot be resumed.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crossloom_run::{Activity, Experiment, ExperimentError, Job, RunOutcome, RunProgress};
use crossloom_train::TrainError;
use crossloom_train::checkpoint::Checkpoints;
use crossloom_train::metrics::read_metrics;
use crossloom_train::progress::{Progress, ProgressUpdate};
use crossloom_train::run_dir::{RunDir, RunStatus};

use crate::support::{Entry, finish, interrupt, recipe, request, try_run};

fn weights(run: &Path, variant: &str, step: u64) -> Vec<Vec<u8>> {
    let folder = run.join(variant).join("checkpoints").join(format!("step-{step}"));
    ["model.safetensors", "optimizer.safetensors", "state.json"]
        .map(|file| std::fs::read(folder.join(file)).unwrap())
        .to_vec()
}

/// Loss and gradient norm of every step.
fn curve(run: &Path, variant: &str) -> Vec<(u64, f64, f64)> {
    let metrics = read_metrics(&run.join(variant).join("metrics.jsonl")).unwrap();
    metrics.iter().map(|m| (m.step, m.scalars["loss"], m.scalars["grad_norm"])).collect()
}

#[test]
fn stopped_and_continued_is_bitwise_the_same_as_never_stopped() {
    const KEPT: &str = "train.parts.vision={ trainable = false, dtype = 'bf16' }";
    const LORA: &str = "train.parts.language={ dtype = 'bf16', lora = { rank = 4, targets = ['q_proj', 'v_proj'] }, \
                        tensors = [{ match = '*norm*', lr_scale = 0.5 }] }";
    for sets in [
        &[][..],
        &["train.accumulate=2"],
        &["train.precision=bf16"],
        &["train.precision=bf16", "train.accumulate=2", KEPT],
        &["train.precision=bf16", KEPT, LORA],
    ] {
        let recipe = recipe(sets);
        let [whole, parts] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let expected = finish(&recipe, &["cli"], whole.path(), Entry::New);
        let run = interrupt(&recipe, &["cli"], parts.path(), Entry::New, 2);
        interrupt(&recipe, &["cli"], parts.path(), Entry::Resume, 3);
        let given = finish(&recipe, &["cli"], parts.path(), Entry::Resume);
        assert_eq!(given.dir.path(), run);
        assert_eq!(weights(&run, "cli", 6), weights(expected.dir.path(), "cli", 6), "{sets:?}");
        assert_eq!(curve(&run, "cli"), curve(expected.dir.path(), "cli"), "{sets:?}");
        assert_eq!(given.variants[0].records, expected.variants[0].records);
        assert_eq!(given.variants[0].gates, expected.variants[0].gates);
    }
}

/// Nothing that is trained depends on what is asked in between, and the curve of a run that was stopped is whole.
#[test]
fn a_training_that_is_asked_in_between_is_bitwise_the_same() {
    let plain = recipe(&[]);
    let asked = recipe(&["eval.every=2", "eval.sample=1000"]);
    let [without, whole, parts] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let without = finish(&plain, &["cli"], without.path(), Entry::New);
    let whole = finish(&asked, &["cli"], whole.path(), Entry::New);
    let run = interrupt(&asked, &["cli"], parts.path(), Entry::New, 3);
    finish(&asked, &["cli"], parts.path(), Entry::Resume);
    let last = weights(without.dir.path(), "cli", 6);
    assert_eq!(weights(whole.dir.path(), "cli", 6), last);
    assert_eq!(weights(&run, "cli", 6), last);
    let [first, second] = [whole.dir.path(), &run].map(|run| {
        let record = RunDir::open(run).unwrap().read_record().unwrap();
        record.variants["cli"].sampled.clone().unwrap()
    });
    assert_eq!(first, second);
    assert_eq!(first.scores.keys().copied().collect::<Vec<_>>(), [2, 4, 6]);
    let answered = &whole.variants[0];
    let ids: Vec<&str> = answered.records.iter().map(|record| record.id.as_str()).collect();
    assert_eq!(first.questions, ids, "a sample of more questions than there are is all of them");
    assert!((first.scores[&6] - answered.results.overall.mean).abs() < 1e-12);
    let metrics = read_metrics(&run.join("cli/metrics.jsonl")).unwrap();
    let scores = metrics.iter().filter_map(|m| Some((m.step, *m.scalars.get("sample_score")?)));
    assert_eq!(scores.collect::<std::collections::BTreeMap<_, _>>(), first.scores);
    assert!(metrics.iter().any(|m| m.scalars.keys().any(|name| name.starts_with("sample_score/"))));
}

#[test]
fn a_stop_leaves_a_whole_checkpoint_of_all_completed_steps_and_nothing_half_written() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(&[]);
    // `cli` comes second: what was finished before it stays.
    let run = interrupt(&recipe, &["projector", "cli"], folder.path(), Entry::New, 6);
    let record = RunDir::open(&run).unwrap().read_record().unwrap();
    assert_eq!(record.status, RunStatus::Interrupted);
    assert!(!run.join("report.html").exists());
    let checkpoints = Checkpoints::new(run.join("projector/checkpoints"), 0);
    assert_eq!(checkpoints.newest().unwrap().unwrap().state().step, 6);
    for entry in std::fs::read_dir(checkpoints.root()).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        assert!(!name.contains(".tmp"), "{name}");
    }
    let finished = finish(&recipe, &["projector", "cli"], folder.path(), Entry::Resume);
    assert_eq!(finished.variants.len(), 2);
    assert!(finished.report.exists());
}

#[test]
fn a_stop_before_the_first_step_can_be_continued_too() {
    let [whole, parts] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let recipe = recipe(&["train.steps=2", "train.warmup=1"]);
    let run = interrupt(&recipe, &["projector"], parts.path(), Entry::New, 0);
    let state =
        Checkpoints::new(run.join("projector/checkpoints"), 0).newest().unwrap().unwrap().state().clone();
    assert_eq!((state.step, state.total_tokens), (0, 0));
    finish(&recipe, &["projector"], parts.path(), Entry::Resume);
    let expected = finish(&recipe, &["projector"], whole.path(), Entry::New);
    assert_eq!(weights(&run, "projector", 2), weights(expected.dir.path(), "projector", 2));
}

/// Sets a stop flag once an evaluation begins.
struct StopEvaluation<'s>(&'s AtomicBool);

impl Progress for StopEvaluation<'_> {
    fn update(&mut self, _: &ProgressUpdate) {}
}

impl RunProgress for StopEvaluation<'_> {
    fn begin(&mut self, _: &str, activity: Activity) {
        self.0.store(activity == Activity::Evaluate, Ordering::SeqCst);
    }
}

#[test]
fn a_stopped_evaluation_takes_nothing_from_a_finished_run() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(&["train.steps=2", "train.warmup=1"]);
    let finished = finish(&recipe, &["projector"], folder.path(), Entry::New);
    let before = finished.dir.read_record().unwrap();
    let stop = AtomicBool::new(false);
    let request =
        Experiment { job: Job::Evaluate, ..request(&recipe, &["projector"], folder.path(), Entry::New) };
    let ended = request.run(&mut StopEvaluation(&stop), &stop).unwrap();
    assert!(matches!(ended, RunOutcome::Interrupted { .. }));
    let after = finished.dir.read_record().unwrap();
    let (was, is) = (&before.variants["projector"], &after.variants["projector"]);
    assert_eq!((after.status, &is.status), (RunStatus::Finished, &was.status));
    assert_eq!((&is.evaluated_as, &is.gates), (&was.evaluated_as, &was.gates));
    assert!(finished.variants[0].dir.results_path().exists());
}

#[test]
fn a_damaged_checkpoint_is_refused_by_name_and_nothing_is_trained() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(&[]);
    let run = interrupt(&recipe, &["projector"], folder.path(), Entry::New, 2);
    let file = run.join("projector/checkpoints/step-2/model.safetensors");
    let intact = std::fs::read(&file).unwrap();
    let mut flipped = intact.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for damaged in [flipped, intact[..intact.len() - 1].to_vec(), Vec::new()] {
        std::fs::write(&file, &damaged).unwrap();
        let Err(error) = try_run(&recipe, &["projector"], folder.path(), Entry::Resume) else {
            panic!("it was used")
        };
        assert!(matches!(error, ExperimentError::Checkpoint(_)), "{error}");
        assert!(error.to_string().contains("model.safetensors"), "{error}");
        let record = RunDir::open(&run).unwrap().read_record().unwrap();
        assert!(matches!(record.status, RunStatus::Failed { .. }));
        assert_eq!(curve(&run, "projector").len(), 2);
    }
    std::fs::write(&file, intact).unwrap();
    finish(&recipe, &["projector"], folder.path(), Entry::Resume);
}

#[test]
fn a_value_that_is_not_finite_stops_the_run_with_step_op_and_scope() {
    for accumulate in ["train.accumulate=1", "train.accumulate=2"] {
        let folder = tempfile::tempdir().unwrap();
        // The hidden state overflows where features of any size are let in.
        let gate = "variants.cli.topology.gate={ kind = 'constant', value = 1e38 }";
        let recipe = recipe(&["train.lr=10", "train.warmup=0", "train.checkpoint_every=1", gate, accumulate]);
        let Err(error) = try_run(&recipe, &["cli"], folder.path(), Entry::New) else { panic!("it goes on") };
        let ExperimentError::Train(TrainError::NonFinite(report)) = &error else { panic!("{error}") };
        let before = (report.step > 1).then(|| report.step - 1);
        assert_eq!(report.checkpoint, before);
        let found = report.found.as_ref().expect("the op is found");
        assert_eq!(found.op, "agf_inject");
        assert!(found.scope.starts_with("inject.layer."), "{found:?}");
        let text = error.to_string();
        for part in [format!("step {}", report.step).as_str(), &found.op, &found.scope, "image "] {
            assert!(text.contains(part), "`{part}` is not in: {text}");
        }
        let run = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        let RunStatus::Failed { error } = RunDir::open(&run).unwrap().read_record().unwrap().status else {
            panic!("the record does not say so")
        };
        assert_eq!(error, text);
        let checkpoints = Checkpoints::new(run.join("cli/checkpoints"), 0);
        assert_eq!(
            checkpoints.newest().unwrap().map(|c| c.state().step),
            before,
            "what is not finite was not saved"
        );
    }
}

#[test]
fn a_run_with_a_constant_rate_is_extended_as_if_it_had_been_longer_from_the_start() {
    let constant = |steps: &'static str| {
        let steps = format!("train.steps={steps}");
        recipe(&[
            "train.schedule='constant'",
            "train.warmup=2",
            "variants.question_only.train.steps=7",
            &steps,
        ])
    };
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let long = finish(&constant("7"), &["cli"], whole.path(), Entry::New);
    let short = finish(&constant("3"), &["cli"], parts.path(), Entry::New);
    let extended = finish(&constant("7"), &["cli"], parts.path(), Entry::Resume);
    assert_eq!(extended.dir.path(), short.dir.path(), "the number of steps is no part of the folder's name");
    assert!(weights(long.dir.path(), "cli", 7) == weights(extended.dir.path(), "cli", 7));
    assert_eq!(extended.dir.read_record().unwrap().variants["cli"].steps, 7);
    let Err(error) = try_run(&constant("5"), &["cli"], parts.path(), Entry::Resume) else {
        panic!("it runs")
    };
    assert!(error.to_string().contains("was trained for 7 steps already, the recipe says 5"), "{error}");
}

#[test]
fn a_run_whose_rate_depends_on_its_length_is_not_extended_and_the_reason_is_told() {
    let folder = tempfile::tempdir().unwrap();
    finish(&recipe(&["train.steps=3"]), &["cli"], folder.path(), Entry::New);
    let longer = recipe(&["train.steps=4"]);
    let Err(error) = try_run(&longer, &["cli"], folder.path(), Entry::Resume) else { panic!("it runs") };
    let error = error.to_string();
    for part in ["nothing to resume", "train.steps: 3 → 4", "cannot be extended", "constant"] {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
}

#[test]
fn a_run_that_goes_on_with_another_instruction_set_says_where_bit_identity_ends() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(&[]);
    let run = interrupt(&recipe, &["cli"], folder.path(), Entry::New, 2);
    let dir = RunDir::open(&run).unwrap();
    let mut record = dir.read_record().unwrap();
    assert!(record.notes.is_empty() && !record.instruction_set.is_empty());
    record.instruction_set = "another".to_owned();
    dir.write_record(&record).unwrap();
    let finished = finish(&recipe, &["cli"], folder.path(), Entry::Resume);
    let record = finished.dir.read_record().unwrap();
    assert_eq!(record.notes.len(), 1);
    assert!(
        record.notes[0].contains("(another)") && record.notes[0].contains("last bits"),
        "{:?}",
        record.notes
    );
    assert_ne!(record.instruction_set, "another");
}
