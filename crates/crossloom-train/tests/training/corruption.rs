//! A damaged checkpoint is an error that names the file and what to do; never a panic, never a half-loaded model.

use std::fs;
use std::path::Path;

use crate::fake::*;
use crossloom_train::{BoxError, CheckpointError, Checkpoints, ModelState, RestorePart, StateTensor, Visit};

fn saved(dir: &Path, steps: &[u64]) -> Checkpoints {
    let checkpoints = Checkpoints::new(dir, 0);
    for &steps in steps {
        let (mut model, mut source) = (FakeModel::new(), FakeSource::new(5, &[4]));
        run(&mut trainer(options(steps)), &mut model, &mut source, Some(&checkpoints), &never()).unwrap();
    }
    checkpoints
}

/// Load the newest checkpoint into a fresh model; the model as it is afterwards.
fn load(checkpoints: &Checkpoints) -> (FakeModel, Result<(), CheckpointError>) {
    let (mut model, mut source) = (FakeModel::new(), FakeSource::new(5, &[4]));
    let result = checkpoints.newest().and_then(|checkpoint| {
        trainer(options(9)).resume(&checkpoint.unwrap(), &SAME_RECIPE, &mut model, &mut source)
    });
    (model, result)
}

#[test]
fn every_changed_byte_of_every_file_is_an_error_that_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = saved(dir.path(), &[2, 3]);
    load(&checkpoints).1.unwrap();
    let untouched = FakeModel::new().bits();
    let mut positions = 0;
    for (name, bytes) in files_below(&checkpoints.path_of(3)) {
        let path = checkpoints.path_of(3).join(&name);
        for position in (0..bytes.len()).step_by(3) {
            let mut damaged = bytes.clone();
            damaged[position] ^= 1 << (position % 8);
            fs::write(&path, &damaged).unwrap();
            let (model, result) = load(&checkpoints);
            let text = result.expect_err(&format!("{name} at {position}")).to_string();
            assert!(text.contains(&name), "{name} at {position}: {text}");
            assert_eq!(model.bits(), untouched, "{name} at {position}");
            positions += 1;
        }
        fs::write(&path, &bytes).unwrap();
    }
    assert!(positions > 500, "{positions}");
    load(&checkpoints).1.unwrap();
}

#[test]
fn a_truncated_lengthened_or_missing_file_is_an_error_with_advice() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = saved(dir.path(), &[2, 3]);
    for (name, bytes) in files_below(&checkpoints.path_of(3)) {
        let path = checkpoints.path_of(3).join(&name);
        for length in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            fs::write(&path, &bytes[..length]).unwrap();
            let text = load(&checkpoints).1.unwrap_err().to_string();
            assert!(text.contains(&name) && text.contains("resume from step 2"), "{text}");
        }
        fs::write(&path, [&bytes[..], b"x"].concat()).unwrap();
        assert!(load(&checkpoints).1.is_err());
        fs::remove_file(&path).unwrap();
        let text = load(&checkpoints).1.unwrap_err().to_string();
        assert!(text.contains("missing"), "{text}");
        fs::create_dir(&path).unwrap();
        assert!(load(&checkpoints).1.is_err());
        fs::remove_dir(&path).unwrap();
        fs::write(&path, &bytes).unwrap();
    }
    // The advice works.
    fs::write(checkpoints.path_of(3).join("manifest.json"), b"{}").unwrap();
    fs::rename(checkpoints.path_of(3), dir.path().join("away")).unwrap();
    load(&checkpoints).1.unwrap();
}

#[test]
fn a_checkpoint_of_the_future_says_update() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = saved(dir.path(), &[2]);
    let path = checkpoints.path_of(2).join("manifest.json");
    fs::write(&path, br#"{"schema_version": 7, "something": "new"}"#).unwrap();
    let error = checkpoints.newest().unwrap_err();
    assert!(matches!(error, CheckpointError::Schema { found: 7, .. }), "{error}");
}

#[test]
fn temporary_and_foreign_folders_are_not_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = saved(dir.path(), &[2]);
    for name in ["step-9.tmp", "step-8.replaced.tmp", "step-007", "step-", "step-+3", "other"] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    assert_eq!(checkpoints.steps().unwrap(), [2]);
    assert_eq!(checkpoints.newest().unwrap().unwrap().state().step, 2);
    // A save removes what a killed process left, and nothing else.
    saved(dir.path(), &[3]);
    let left: Vec<String> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "tmp"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(dir.path().join("other").exists() && dir.path().join("step-007").exists());
}

#[test]
fn no_checkpoint_is_none_and_a_named_one_that_is_missing_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(dir.path().join("none"), 0);
    assert!(checkpoints.newest().unwrap().is_none());
    assert!(matches!(checkpoints.load(4), Err(CheckpointError::None { .. })));
}

#[test]
fn a_damaged_checkpoint_is_replaced_when_training_reaches_its_step_again() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = saved(dir.path(), &[3]);
    let whole = files_below(&checkpoints.path_of(3));
    fs::write(checkpoints.path_of(3).join("model.safetensors"), b"damaged").unwrap();
    saved(dir.path(), &[3]);
    assert_eq!(files_below(&checkpoints.path_of(3)), whole);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn only_the_newest_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(dir.path(), 3);
    let options = crossloom_train::TrainOptions { checkpoint_every: Some(2), ..options(11) };
    let (mut model, mut source) = (FakeModel::new(), FakeSource::new(5, &[4]));
    run(&mut trainer(options), &mut model, &mut source, Some(&checkpoints), &never()).unwrap();
    assert_eq!(checkpoints.steps().unwrap(), [8, 10, 11]);
    assert_eq!(fs::read_to_string(dir.path().join("latest")).unwrap(), "step-11\n");
}

#[test]
fn going_back_to_an_older_step_does_not_remove_what_is_written_next() {
    let dir = tempfile::tempdir().unwrap();
    saved(dir.path(), &[2, 8, 9]);
    let checkpoints = Checkpoints::new(dir.path(), 2);
    let (mut model, mut source) = (FakeModel::new(), FakeSource::new(5, &[4]));
    run(&mut trainer(options(4)), &mut model, &mut source, Some(&checkpoints), &never()).unwrap();
    assert_eq!(checkpoints.steps().unwrap(), [4, 9]);
}

#[test]
fn tensors_that_do_not_fit_the_model_are_all_listed_and_nothing_is_loaded() {
    struct Other {
        loaded: bool,
    }
    impl ModelState for Other {
        fn visit_state(&self, visit: &mut Visit<'_>) -> Result<(), BoxError> {
            visit(tensor("language_model.model.weight", &[3, 1], &[0; 12]))?;
            visit(tensor("language_model.lm_head.weight", &[2], &[0; 8]))
        }
        fn load_state(&mut self, _: StateTensor<'_>) -> Result<(), BoxError> {
            self.loaded = true;
            Ok(())
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = saved(dir.path(), &[2]);
    let mut other = Other { loaded: false };
    let error = checkpoints
        .newest()
        .unwrap()
        .unwrap()
        .restore_model(&mut other, RestorePart::Parameters)
        .unwrap_err();
    let CheckpointError::Mismatch { problems, .. } = &error else { panic!("{error}") };
    assert_eq!(
        problems[..],
        [
            "`language_model.model.weight` has shape [1, 3], the model has [3, 1]",
            "missing: `language_model.lm_head.weight` [2]",
            "unexpected: `injection.gate.layer.0.controller.bias`",
        ]
    );
    assert!(!other.loaded);
}
