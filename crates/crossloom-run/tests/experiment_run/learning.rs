//! It learns, and learns as it did when these numbers were written down.

use std::fmt::Write as _;
use std::path::Path;

use crossloom_train::metrics::read_metrics;
use crossloom_train::run_dir::RunDir;

use crate::support::{Entry, finish, recipe};

#[test]
fn a_handful_of_pictures_is_learned_by_heart() {
    learns_by_heart("f32");
}

#[test]
fn a_handful_of_pictures_is_learned_by_heart_in_16_bits() {
    learns_by_heart("bf16");
}

fn learns_by_heart(precision: &str) {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(&[
        &format!("train.precision={precision}"),
        "data.source={ kind = 'synthetic', train_images = 4, test_images = 4, questions_per_image = 4 }",
        "train.steps=200",
        "train.schedule=constant",
        "train.weight_decay=0",
        "train.log_every=50",
    ]);
    let finished = finish(&recipe, &["projector", "cli"], folder.path(), Entry::New);
    let record = RunDir::open(finished.dir.path()).unwrap().read_record().unwrap();
    for (name, variant) in &record.variants {
        let loss = variant.final_loss.unwrap();
        assert!(loss < 0.05, "{name}: {loss}");
        assert_eq!(variant.precision, precision);
    }
}

/// Loss and gradient norm of the first twenty steps, beside the recorded ones. Kernels of other instruction sets round
/// otherwise, so they are close, not equal. `CROSSLOOM_BLESS=1` records them anew.
#[test]
fn the_first_twenty_steps_are_those_on_record() {
    let folder = tempfile::tempdir().unwrap();
    let finished = finish(&recipe(&["train.steps=20"]), &["projector", "cli"], folder.path(), Entry::New);
    let mut table = String::from("variant step loss grad_norm\n");
    let mut rows = Vec::new();
    for variant in ["projector", "cli"] {
        let metrics = read_metrics(&finished.dir.path().join(variant).join("metrics.jsonl")).unwrap();
        for line in metrics {
            let (loss, norm) = (line.scalars["loss"], line.scalars["grad_norm"]);
            writeln!(table, "{variant} {} {loss:.5} {norm:.5}", line.step).unwrap();
            rows.push((format!("{variant} {}", line.step), [loss, norm]));
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/experiment_run/first_steps.txt");
    if std::env::var_os("CROSSLOOM_BLESS").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    let recorded = std::fs::read_to_string(&path).unwrap();
    assert_eq!(recorded.lines().count() - 1, rows.len());
    for (line, (step, given)) in recorded.lines().skip(1).zip(&rows) {
        let numbers = line.strip_prefix(step.as_str()).unwrap_or_else(|| panic!("`{line}` is not of {step}"));
        for (recorded, given) in numbers.split_whitespace().zip(given) {
            let recorded: f64 = recorded.parse().unwrap();
            assert!(
                (recorded - given).abs() <= 2e-3 * recorded.abs(),
                "{step}: {given}, {recorded} on record"
            );
        }
    }
}
