//! The loop: accumulation, stopping, non-finite values, bad settings, what it reports.

use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::fake::*;
use crossloom_recipe::Schedule;
use crossloom_train::metrics::{DrawnSamples, SampleLog, SinkError, read_metrics};
use crossloom_train::{
    BatchSource, BoxError, Checkpoints, GroupRates, JsonlSink, MetricPhase, MetricRecord, MetricSink,
    Outcome, Phase, Progress, ProgressUpdate, RateCurve, Scalars, TensorBoardSink, TrainError, TrainIo,
    TrainOptions, Trainer,
};

#[test]
fn accumulated_micro_batches_weigh_by_their_tokens() {
    // 3 + 5 rows in two micro-batches are one batch of 8 rows: not so if each micro-batch weighed one half.
    let train = |sizes: &[usize], accumulate| {
        let mut model = FakeModel { noise: 0.0, ..FakeModel::new() };
        let options = TrainOptions { accumulate, ..options(10) };
        let summary =
            run(&mut trainer(options), &mut model, &mut FakeSource::new(5, sizes), None, &never()).unwrap();
        (model, summary)
    };
    let (whole, whole_summary) = train(&[8], 1);
    let (parts, parts_summary) = train(&[3, 5], 2);
    for (a, b) in whole.weight.iter().zip(&parts.weight) {
        assert!((a - b).abs() < 1e-5, "{a} and {b}");
    }
    let last = |summary: &crossloom_train::Summary| summary.last.clone().unwrap();
    assert!((last(&whole_summary).loss - last(&parts_summary).loss).abs() < 1e-5);
    assert_eq!((parts_summary.total_tokens, last(&parts_summary).tokens), (80, 8));
    // Gate means weigh alike: (3·3 + 5·5) / 8.
    assert_eq!(last(&parts_summary).gate_means.unwrap()[EDGE], 4.25);
    assert_eq!(parts.micro_steps[..3], [(1, 0, 2, false), (1, 1, 2, true), (2, 0, 2, false)]);
}

#[test]
fn training_learns_and_every_part_follows_the_schedule_at_its_own_rate() {
    let peaks = GroupRates::new([("language", 0.05), ("gate", 0.1)]);
    let schedule = RateCurve { shape: Schedule::Linear, warmup_steps: 2, total_steps: 200, min_ratio: 0.0 };
    let mut model = FakeModel { noise: 0.0, ..FakeModel::new() };
    let mut trainer = Trainer::new(options(200), peaks, schedule).unwrap();
    let summary = run(&mut trainer, &mut model, &mut FakeSource::new(5, &[8]), None, &never()).unwrap();
    assert!(summary.last.unwrap().loss < 1e-3);
    assert_eq!(model.lrs[..2], [[0.025, 0.05], [0.05, 0.1]]);
    assert_eq!(model.lrs[100], [0.025, 0.05], "half way from the peak to the last step");
    assert_eq!(model.lrs[199], [0.0, 0.0]);
}

#[test]
fn ctrl_c_ends_the_step_writes_a_checkpoint_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(dir.path(), 2);
    let (mut model, mut source) = (FakeModel::new(), FakeSource::new(5, &[4]));
    let stop = Rc::new(AtomicBool::new(false));
    model.raise_stop = Some((6, 0, Rc::clone(&stop)));
    let summary = run(&mut trainer(options(20)), &mut model, &mut source, Some(&checkpoints), &stop).unwrap();
    assert_eq!((summary.outcome, summary.completed), (Outcome::Interrupted, 6));
    assert_eq!(summary.checkpoint, Some(checkpoints.path_of(6)));
    assert_eq!(checkpoints.steps().unwrap(), [6]);
}

#[test]
fn ctrl_c_between_micro_batches_gives_the_batches_back() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(dir.path(), 2);
    let options = |steps| TrainOptions { accumulate: 3, ..options(steps) };
    let (mut model, mut source) = (FakeModel::new(), FakeSource::new(5, &[4, 2]));
    let stop = Rc::new(AtomicBool::new(false));
    model.raise_stop = Some((6, 1, Rc::clone(&stop)));
    let summary = run(&mut trainer(options(20)), &mut model, &mut source, Some(&checkpoints), &stop).unwrap();
    assert_eq!((summary.outcome, summary.completed), (Outcome::Interrupted, 5));
    assert_eq!(model.discarded.get(), 1);

    let (mut resumed, mut resumed_source) = (FakeModel::new(), FakeSource::new(5, &[4, 2]));
    let mut second = trainer(options(20));
    let checkpoint = checkpoints.newest().unwrap().unwrap();
    second.resume(&checkpoint, &SAME_RECIPE, &mut resumed, &mut resumed_source).unwrap();
    run(&mut second, &mut resumed, &mut resumed_source, None, &never()).unwrap();
    let (mut unbroken, mut unbroken_source) = (FakeModel::new(), FakeSource::new(5, &[4, 2]));
    run(&mut trainer(options(20)), &mut unbroken, &mut unbroken_source, None, &never()).unwrap();
    assert_eq!(resumed.bits(), unbroken.bits());
    assert_eq!(resumed_source.handed_out, unbroken_source.handed_out[15..]);
}

#[test]
fn a_stop_before_the_first_step_is_clean_too() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(dir.path(), 2);
    let mut model = FakeModel::new();
    let stop = AtomicBool::new(true);
    let summary =
        run(&mut trainer(options(9)), &mut model, &mut FakeSource::new(5, &[4]), Some(&checkpoints), &stop)
            .unwrap();
    assert_eq!((summary.outcome, summary.completed, summary.last), (Outcome::Interrupted, 0, None));
    assert_eq!(checkpoints.newest().unwrap().unwrap().state().step, 0);
}

#[test]
fn the_first_non_finite_value_stops_the_run_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(dir.path(), 0);
    let mut model = FakeModel { poison: Some(8), ..FakeModel::new() };
    let options = TrainOptions { checkpoint_every: Some(3), ..options(20) };
    let mut source = FakeSource::new(5, &[2]);
    let error =
        run(&mut trainer(options), &mut model, &mut source, Some(&checkpoints), &never()).unwrap_err();
    let text = error.to_string();
    for part in
        ["step 8", "the loss is NaN", "`div`", "`language.layer.3.attn`", "`v42`", "row-", "step 6 is intact"]
    {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    let TrainError::NonFinite(report) = error else { panic!("{text}") };
    assert_eq!((report.step, report.checkpoint), (8, Some(6)));
    assert_eq!(
        report.samples,
        [format!("row-{}", source.handed_out[7][1])],
        "the other one's loss is finite"
    );
    assert_eq!(checkpoints.steps().unwrap(), [3, 6]);
}

#[test]
fn the_loss_of_every_sample_is_kept_and_a_spike_names_the_one_that_made_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("drawn.jsonl");
    let mut log = SampleLog::open(&path, 0).unwrap();
    let (mut model, stop) = (FakeModel { outlier: Some(38), ..FakeModel::new() }, never());
    let mut source = FakeSource::new(5, &[4, 2]);
    let mut io = TrainIo {
        progress: &mut crossloom_train::Silent,
        sinks: &mut [],
        checkpoints: None,
        samples: Some(&mut log),
        stop: &stop,
        validate: None,
        evaluate: None,
    };
    let options = TrainOptions { accumulate: 2, ..options(40) };
    let summary = trainer(options).run(&mut model, &mut source, &mut io).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let steps: Vec<DrawnSamples> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(steps.len(), 40);
    for (step, batches) in steps.iter().zip(source.handed_out.chunks(2)) {
        let names: Vec<String> = batches.iter().flatten().map(|id| format!("row-{id}")).collect();
        assert!(step.samples.iter().map(|sample| &sample.id).eq(&names));
        // Every sample has one target, so the step's loss is the mean of theirs.
        let mean = step.samples.iter().map(|sample| sample.loss.unwrap()).sum::<f64>() / 6.0;
        assert!((mean - step.loss.unwrap()).abs() < 1e-6 * mean.max(1.0), "{step:?}");
    }
    let spikes: Vec<u64> = steps.iter().filter(|step| step.spike).map(|step| step.step).collect();
    assert_eq!(spikes, [38]);
    let far_off: Vec<String> =
        source.handed_out[74..76].iter().map(|batch| format!("row-{} (1000.000)", batch[1])).collect();
    let [note] = &summary.notes[..] else { panic!("{:?}", summary.notes) };
    assert!(note.contains(&format!("(samples {}, row-", far_off.join(", "))), "{note}");
}

#[test]
fn the_first_non_finite_value_is_looked_for_in_all_micro_batches() {
    let mut model = FakeModel { poison: Some(2), ..FakeModel::new() };
    let options = TrainOptions { accumulate: 3, ..options(4) };
    let source = &mut FakeSource::new(5, &[4, 1, 2]);
    let error = run(&mut trainer(options), &mut model, source, None, &never()).unwrap_err();
    assert_eq!(model.located, Some((vec![4, 1, 2], 2)));
    assert!(error.to_string().contains("`clip_norm`"), "the hint names a key of the recipe: {error}");
}

#[test]
fn batches_without_answers_are_skipped_and_a_step_of_only_such_is_an_error() {
    let options = TrainOptions { accumulate: 2, ..options(4) };
    let mut model = FakeModel::new();
    run(&mut trainer(options.clone()), &mut model, &mut FakeSource::new(5, &[3, 0]), None, &never()).unwrap();
    assert!(
        model.micro_steps.iter().all(|&(_, index, count, update)| (index, count, update) == (0, 1, true))
    );
    let error =
        run(&mut trainer(options), &mut FakeModel::new(), &mut FakeSource::new(5, &[0]), None, &never());
    assert!(matches!(error, Err(TrainError::NoTargets { step: 1, .. })));
}

#[test]
fn an_empty_data_set_is_an_error_that_says_so() {
    struct Empty;
    impl BatchSource for Empty {
        type Batch = FakeBatch;
        fn next_batch(&mut self) -> Result<FakeBatch, BoxError> {
            Err("the data set `easy-vqa` has no samples".into())
        }
        fn state(&self) -> Result<serde_json::Value, BoxError> {
            Ok(serde_json::Value::Null)
        }
        fn restore(&mut self, _state: &serde_json::Value) -> Result<(), BoxError> {
            Ok(())
        }
    }
    let stop = never();
    let mut progress = crossloom_train::Silent;
    let mut io = TrainIo {
        progress: &mut progress,
        sinks: &mut [],
        checkpoints: None,
        samples: None,
        stop: &stop,
        validate: None,
        evaluate: None,
    };
    let error = trainer(options(3)).run(&mut FakeModel::new(), &mut Empty, &mut io).unwrap_err();
    assert_eq!(error.to_string(), "step 1: no batch: the data set `easy-vqa` has no samples");
}

#[test]
fn all_unsound_settings_are_reported_at_once() {
    let bad = TrainOptions {
        accumulate: 0,
        log_every: 0,
        checkpoint_every: Some(0),
        validate_every: Some(0),
        ..options(3)
    };
    let schedule = RateCurve { shape: Schedule::Cosine, warmup_steps: 9, total_steps: 3, min_ratio: 2.0 };
    let Err(TrainError::Settings(problems)) = Trainer::new(bad, rates(-1.0), schedule) else {
        panic!("accepted")
    };
    assert_eq!(problems.len(), 2 + 2 + 4, "{problems:#?}");
}

#[test]
fn progress_metrics_and_validation_come_at_their_intervals() {
    #[derive(Default)]
    struct Recorder {
        updates: Vec<ProgressUpdate>,
        notes: Vec<String>,
    }
    impl Progress for Recorder {
        fn update(&mut self, update: &ProgressUpdate) {
            self.updates.push(*update);
        }
        fn note(&mut self, text: &str) {
            self.notes.push(text.to_owned());
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(dir.path().join("checkpoints"), 0);
    let jsonl = dir.path().join("metrics.jsonl");
    let tensorboard = TensorBoardSink::create(&dir.path().join("tb"), 0).unwrap();
    let events = tensorboard.path().to_owned();
    let mut sinks: [Box<dyn MetricSink>; 2] =
        [Box::new(JsonlSink::open(&jsonl, 0).unwrap()), Box::new(tensorboard)];
    let mut recorder = Recorder::default();
    let mut validated = Vec::new();
    let mut validate = |_: &mut FakeModel, step: u64| -> Result<Scalars, BoxError> {
        validated.push(step);
        Ok(Scalars::from_iter([("accuracy".to_owned(), 0.5)]))
    };
    let mut evaluate = |_: &mut FakeModel, step: u64| -> Result<Scalars, BoxError> {
        Ok(Scalars::from_iter([("score".to_owned(), step as f64)]))
    };
    let stop = never();
    let options =
        TrainOptions { log_every: 3, checkpoint_every: Some(4), validate_every: Some(4), ..options(10) };
    let options = TrainOptions { evaluate_every: Some(6), ..options };
    let mut io = TrainIo {
        progress: &mut recorder,
        sinks: &mut sinks,
        checkpoints: Some(&checkpoints),
        samples: None,
        stop: &stop,
        validate: Some(&mut validate),
        evaluate: Some(&mut evaluate),
    };
    let (mut model, mut source) = (FakeModel::new(), FakeSource::new(5, &[4]));
    let summary = trainer(options).run(&mut model, &mut source, &mut io).unwrap();

    let records = read_metrics(&jsonl).unwrap();
    let steps: Vec<(u64, MetricPhase)> = records.iter().map(|record| (record.step, record.phase)).collect();
    let (train, val, eval) = (MetricPhase::Train, MetricPhase::Validate, MetricPhase::Evaluate);
    assert_eq!(steps[..6], [(3, train), (4, val), (6, train), (6, eval), (8, val), (9, train)]);
    assert_eq!(steps[6..], [(10, train), (10, val), (10, eval)]);
    assert_eq!(records[0].scalars["tokens"], 12.0);
    assert_eq!(records[5].scalars["gate/block.1->layer.0"], 4.0);
    assert_eq!(records[0].scalars["lr/language"], f64::from((0.05 * 0.75) as f32));
    assert_eq!(validated, [4, 8, 10], "also after the last step");
    assert!(summary.median_step.is_some_and(|median| median > 0.0));
    assert!(std::fs::metadata(events).unwrap().len() > 500);

    assert_eq!(checkpoints.steps().unwrap(), [4, 8, 10]);
    let measured: Vec<&String> = recorder.notes.iter().filter(|note| note.starts_with("step ")).collect();
    assert_eq!(measured, ["step 6: score 6.000", "step 10: score 10.000"]);
    assert_eq!(recorder.notes.len() - measured.len(), 3, "one of each checkpoint");
    assert_eq!(recorder.updates[0].step, 0);
    let last = recorder.updates.iter().rfind(|update| update.phase == Phase::Train).unwrap();
    assert_eq!((last.step, last.steps, last.eta), (10, 10, Some(std::time::Duration::ZERO)));
    assert!(last.loss.is_some() && last.steps_per_second.is_some());
}

#[test]
fn a_sink_that_cannot_write_ends_the_run_with_the_file_named() {
    struct Full;
    impl MetricSink for Full {
        fn record(&mut self, _record: &MetricRecord) -> Result<(), SinkError> {
            let source = std::io::ErrorKind::StorageFull.into();
            Err(SinkError { doing: "write to", path: "run/metrics.jsonl".into(), source })
        }
        fn finish(&mut self) -> Result<(), SinkError> {
            Ok(())
        }
    }
    let mut sinks: [Box<dyn MetricSink>; 1] = [Box::new(Full)];
    let (mut model, mut source) = (FakeModel::new(), FakeSource::new(5, &[4]));
    let error =
        run_with(&mut trainer(options(3)), &mut model, &mut source, None, &never(), &mut sinks).unwrap_err();
    assert!(error.to_string().starts_with("cannot write to the metrics file run/metrics.jsonl"), "{error}");
}

/// Takes its time to draw a batch.
struct Slow(FakeSource);

impl BatchSource for Slow {
    type Batch = FakeBatch;

    fn next_batch(&mut self) -> Result<FakeBatch, BoxError> {
        std::thread::sleep(Duration::from_millis(20));
        self.0.next_batch()
    }

    fn state(&self) -> Result<serde_json::Value, BoxError> {
        self.0.state()
    }

    fn restore(&mut self, state: &serde_json::Value) -> Result<(), BoxError> {
        self.0.restore(state)
    }
}

#[test]
fn the_time_of_a_step_holds_the_drawing_of_its_batch() {
    let mut io = TrainIo {
        progress: &mut crossloom_train::Silent,
        sinks: &mut [],
        checkpoints: None,
        samples: None,
        stop: &never(),
        validate: None,
        evaluate: None,
    };
    let (mut model, mut source) = (FakeModel::new(), Slow(FakeSource::new(5, &[4])));
    let summary = trainer(options(3)).run(&mut model, &mut source, &mut io).unwrap();
    assert!(summary.median_step.is_some_and(|median| median >= 0.019), "{:?}", summary.median_step);
}
