//! Pictures of an encoder that is frozen: encoded once, whatever runs and whoever stops.

use std::path::Path;

use crossloom_run::{Finished, PictureBudget, RunOutcome, Unheard};
use crossloom_train::metrics::{Scalars, read_metrics};
use crossloom_train::run_dir::{PictureRecord, RunDir};

use crate::support::{Entry, StopAfter, recipe, request};

const FROZEN: &str = "train.parts.vision.trainable=false";
/// Pictures that a run sees: those that are trained on or held out, and those that are asked about.
const PICTURES: u64 = 12 + 6;

/// A run of `cli` whose encoded pictures may take so much memory, stopped after some steps if that is asked for.
fn run(
    cache: &Path,
    out: &Path,
    memory: u64,
    entry: Entry,
    stop_after: Option<u64>,
) -> Option<Box<Finished>> {
    let cache = format!("data.cache='{}'", cache.display());
    let loaded = recipe(&[FROZEN, &cache, "data.validation=0.25"]);
    let mut experiment = request(&loaded, &["cli"], out, entry);
    experiment.resources.pictures = PictureBudget { memory: Some(memory), disk: None };
    let stop = std::sync::atomic::AtomicBool::new(false);
    let outcome = match stop_after {
        Some(steps) => experiment.run(&mut StopAfter { steps, stop: &stop }, &stop),
        None => experiment.run(&mut Unheard, &stop),
    };
    match outcome.unwrap_or_else(|error| panic!("{error}")) {
        RunOutcome::Finished(finished) => Some(finished),
        RunOutcome::Interrupted { .. } | RunOutcome::Trained { .. } => None,
    }
}

fn pictures(dir: &RunDir) -> PictureRecord {
    dir.read_record().unwrap().variants["cli"].pictures.unwrap()
}

/// Loss and gradient norm of every step, held-out losses, and all answers.
fn numbers(dir: &RunDir) -> (Vec<(u64, Scalars)>, String) {
    let folder = dir.path().join("cli");
    let told = ["loss", "grad_norm", "held_out_loss"];
    let records = read_metrics(&folder.join("metrics.jsonl")).unwrap().into_iter().map(|record| {
        let numbers = record.scalars.into_iter().filter(|(name, _)| told.contains(&name.as_str()));
        (record.step, numbers.collect())
    });
    (records.collect(), std::fs::read_to_string(folder.join("samples.jsonl")).unwrap())
}

#[test]
fn what_memory_does_not_hold_is_on_disk_for_later_runs_too() {
    let (cache, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let at = |name: &str| out.path().join(name);
    let held = run(cache.path(), &at("held"), 1 << 20, Entry::New, None).unwrap();
    let in_memory = pictures(&held.dir);
    assert_eq!((in_memory.encoded, in_memory.from_disk, in_memory.disk_bytes), (PICTURES, 0, 0));
    assert!(in_memory.from_memory > 0 && in_memory.bytes > 0);
    assert!(!cache.path().join("pictures").exists(), "what fits memory is not written");
    let first = run(cache.path(), &at("first"), 0, Entry::New, None).unwrap();
    let on_disk = pictures(&first.dir);
    assert_eq!((on_disk.encoded, on_disk.from_memory, on_disk.bytes), (PICTURES, 0, 0));
    assert!(on_disk.from_disk > 0 && on_disk.disk_bytes > in_memory.bytes);
    let second = run(cache.path(), &at("second"), 0, Entry::New, None).unwrap();
    assert_eq!(pictures(&second.dir).encoded, 0, "the second run encodes nothing");
    for other in [&first, &second] {
        assert_eq!(numbers(&held.dir), numbers(&other.dir));
    }
}

#[test]
fn a_run_that_was_stopped_goes_on_bit_for_bit_wherever_its_pictures_are() {
    let (cache, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let at = |name: &str| out.path().join(name);
    let whole = run(cache.path(), &at("whole"), 1 << 20, Entry::New, None).unwrap();
    for (name, memory) in [("memory", 1 << 20), ("disk", 0)] {
        assert!(run(cache.path(), &at(name), memory, Entry::New, Some(3)).is_none());
        let resumed = run(cache.path(), &at(name), memory, Entry::Resume, None).unwrap();
        assert_eq!(numbers(&resumed.dir), numbers(&whole.dir), "{name}");
    }
}
