//! A stopped and resumed training is the same training, bit for bit.

use std::rc::Rc;
use std::sync::atomic::AtomicBool;

use crate::fake::*;
use crossloom_recipe::Schedule;
use crossloom_train::checkpoint::CheckpointError;
use crossloom_train::metrics::read_metrics;
use crossloom_train::{
    Checkpoints, JsonlSink, MetricSink, ModelState, Outcome, RateCurve, RecipeChange, RestorePart,
    ResumePolicy, TrainOptions, Trainer,
};

fn accumulating(steps: u64) -> TrainOptions {
    TrainOptions { accumulate: 3, ..options(steps) }
}

/// A fresh process: new model, new source, everything else from the newest checkpoint.
fn resumed(
    checkpoints: &Checkpoints,
    options: TrainOptions,
) -> (crossloom_train::Trainer, FakeModel, FakeSource) {
    let (mut model, mut source) = (FakeModel::new(), FakeSource::new(5, &[4, 2]));
    let mut trainer = trainer(options);
    let checkpoint = checkpoints.newest().unwrap().unwrap();
    trainer.resume(&checkpoint, &SAME_RECIPE, &mut model, &mut source).unwrap();
    (trainer, model, source)
}

#[test]
fn twice_n_steps_equal_n_steps_a_kill_and_n_steps() {
    let dir = tempfile::tempdir().unwrap();
    for (name, options) in [("plain", options as fn(u64) -> TrainOptions), ("accumulating", accumulating)] {
        let whole = Checkpoints::new(dir.path().join(format!("{name}-whole")), 0);
        let (mut model, mut source) = (FakeModel::new(), FakeSource::new(5, &[4, 2]));
        run(&mut trainer(options(22)), &mut model, &mut source, Some(&whole), &never()).unwrap();

        let parts = Checkpoints::new(dir.path().join(format!("{name}-parts")), 0);
        let (mut first, mut first_source) = (FakeModel::new(), FakeSource::new(5, &[4, 2]));
        run(&mut trainer(options(11)), &mut first, &mut first_source, Some(&parts), &never()).unwrap();
        drop((first, first_source));
        let (mut trainer, mut second, mut second_source) = resumed(&parts, options(22));
        assert_eq!(trainer.completed(), 11);
        let summary = run(&mut trainer, &mut second, &mut second_source, Some(&parts), &never()).unwrap();

        assert_eq!(summary.outcome, Outcome::Finished);
        assert_eq!(second.bits(), model.bits());
        // The second half sees the batches of the second half, in order.
        let half = source.handed_out.len() / 2;
        assert_eq!(source.handed_out[half..], second_source.handed_out);
        // Not only the tensors: every byte of the checkpoint.
        assert_eq!(files_below(&whole.path_of(22)), files_below(&parts.path_of(22)));
    }
}

#[test]
fn metrics_of_a_killed_and_resumed_run_are_those_of_an_unbroken_one() {
    let dir = tempfile::tempdir().unwrap();
    let train = |name: &str, stop_after: &[u64]| {
        let checkpoints = Checkpoints::new(dir.path().join(name), 0);
        let path = dir.path().join(format!("{name}.jsonl"));
        for (i, &steps) in stop_after.iter().enumerate() {
            let (mut trainer, mut model, mut source) = if i == 0 {
                let source = FakeSource::new(5, &[4, 2]);
                (trainer(TrainOptions { log_every: 4, ..options(24) }), FakeModel::new(), source)
            } else {
                resumed(&checkpoints, TrainOptions { log_every: 4, ..options(24) })
            };
            let mut sinks: [Box<dyn MetricSink>; 1] =
                [Box::new(JsonlSink::open(&path, trainer.completed()).unwrap())];
            if steps < 24 {
                // An interrupt at the end of step `steps`, not a multiple of the logging interval.
                let stop = Rc::new(AtomicBool::new(false));
                model.raise_stop = Some((steps, 0, Rc::clone(&stop)));
                run_with(&mut trainer, &mut model, &mut source, Some(&checkpoints), &stop, &mut sinks)
                    .unwrap();
            } else {
                run_with(&mut trainer, &mut model, &mut source, Some(&checkpoints), &never(), &mut sinks)
                    .unwrap();
            }
        }
        let mut records = read_metrics(&path).unwrap();
        for record in &mut records {
            record.time = 0.0;
            record.scalars.retain(|name, _| !name.ends_with("_per_second") && name != "data_wait");
        }
        records
    };
    let unbroken = train("unbroken", &[24]);
    assert_eq!(unbroken.len(), 6);
    assert_eq!(train("broken", &[7, 18, 24]), unbroken);
}

#[test]
fn resuming_with_another_recipe_is_refused_and_names_the_changes() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(dir.path(), 0);
    run(
        &mut trainer(options(3)),
        &mut FakeModel::new(),
        &mut FakeSource::new(5, &[4]),
        Some(&checkpoints),
        &never(),
    )
    .unwrap();
    let checkpoint = checkpoints.newest().unwrap().unwrap();
    let change = |key: &str| RecipeChange { key: key.into(), before: Some("1".into()), after: None };
    let check = |changes: &dyn Fn(&str) -> Option<Vec<RecipeChange>>| {
        ResumePolicy { recipe_hash: "recipe-b", changes }.check(&checkpoint).unwrap_err().to_string()
    };
    let both = |hash: &str| {
        assert_eq!(hash, "recipe-a");
        Some(vec![change("train.lr"), change("data.seed")])
    };
    let text = check(&both);
    assert!(text.contains("train.lr: 1 → (not set)") && text.contains("data.seed"), "{text}");
    // Also where the old recipe is not known, or no difference is found.
    check(&|_| None);
    check(&|_| Some(Vec::new()));

    // Refused before anything is touched.
    let (mut model, mut source) = (FakeModel::new(), FakeSource::new(5, &[4]));
    let mut other = trainer(options(9));
    let policy = ResumePolicy { recipe_hash: "recipe-b", changes: &|_| None };
    let refused = other.resume(&checkpoint, &policy, &mut model, &mut source);
    assert!(matches!(refused, Err(CheckpointError::RecipeChanged { .. })));
    assert_eq!((other.completed(), model.bits()), (0, FakeModel::new().bits()));
}

#[test]
fn parameters_alone_can_be_loaded_to_evaluate() {
    struct ParametersOnly(FakeModel);
    impl ModelState for ParametersOnly {
        fn visit_state(
            &self,
            visit: &mut crossloom_train::Visit<'_>,
        ) -> Result<(), crossloom_train::BoxError> {
            self.0.visit_state(&mut |tensor| {
                if tensor.name.starts_with("optimizer.") { Ok(()) } else { visit(tensor) }
            })
        }
        fn load_state(
            &mut self,
            tensor: crossloom_train::StateTensor<'_>,
        ) -> Result<(), crossloom_train::BoxError> {
            self.0.load_state(tensor)
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(dir.path(), 0);
    let mut model = FakeModel::new();
    run(&mut trainer(options(3)), &mut model, &mut FakeSource::new(5, &[4]), Some(&checkpoints), &never())
        .unwrap();
    let checkpoint = checkpoints.newest().unwrap().unwrap();
    let mut loaded = ParametersOnly(FakeModel::new());
    checkpoint.restore_model(&mut loaded, RestorePart::Parameters).unwrap();
    assert_eq!((loaded.0.weight, loaded.0.bias), (model.weight, model.bias));
}

#[test]
fn an_old_checkpoint_still_loads() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/checkpoint-v1");
    let checkpoints = Checkpoints::new(&root, 0);
    let (mut model, mut source) = (FakeModel::new(), FakeSource::new(5, &[4, 2]));
    if !root.exists() && std::env::var_os("CROSSLOOM_BLESS").is_some() {
        run(&mut trainer(options(5)), &mut model, &mut source, Some(&checkpoints), &never()).unwrap();
    }
    let (trainer, model, source) = resumed(&checkpoints, options(9));
    assert_eq!(trainer.completed(), 5);
    let mut fresh = FakeModel::new();
    // Its five steps were four of warm-up and one at the peak.
    let curve = RateCurve { shape: Schedule::Constant, warmup_steps: 4, total_steps: 40, min_ratio: 0.0 };
    let mut trainer = Trainer::new(options(5), rates(0.05), curve).unwrap();
    run(&mut trainer, &mut fresh, &mut FakeSource::new(5, &[4, 2]), None, &never()).unwrap();
    // The file may have been written on another processor, so the last bit may differ.
    for (a, b) in model.weight.iter().zip(&fresh.weight) {
        assert!((a - b).abs() < 1e-5, "{a} and {b}");
    }
    assert!(source.handed_out.is_empty());
}
