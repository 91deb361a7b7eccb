//! What a run was predicted to hold at once, against what it did.
//!
//! ```text
//! cargo run --release -p crossloom-run --example memory -- recipes/quickstart.toml cli [KEY=VALUE …]
//! ```
//!
//! Trains a few steps and evaluates a few questions below a folder that is removed again. The prediction is that of
//! run.json, made before anything was allocated; the measurement is the most that this process had in memory.

use std::error::Error;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use crossloom_recipe::{LoadOptions, load};
use crossloom_run::backends::Resources;
use crossloom_run::{Entry, Experiment, Job, RunOutcome, Unheard};
use crossloom_runtime::limits::peak_resident_bytes;
use crossloom_train::run_dir::RunDir;

/// What makes a run short; later settings win.
const SHORT: [&str; 4] = ["train.steps=3", "eval.limit=16", "eval.permutations=100", "train.log_every=1"];

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [path, variant, sets @ ..] = args.as_slice() else {
        return Err("usage: memory RECIPE VARIANT [KEY=VALUE …]".into());
    };
    let sets = SHORT.iter().map(|&set| set.to_owned()).chain(sets.iter().cloned()).collect();
    let loaded = load(Path::new(path), &LoadOptions { sets }).map_err(|problems| problems.to_string())?;
    let out = tempfile::tempdir()?;
    let experiment = Experiment {
        recipe: &loaded,
        job: Job::All,
        variants: vec![variant.clone()],
        out: out.path().to_owned(),
        folder: None,
        entry: Entry::New,
        resources: Resources::default(),
        command: "the example memory".to_owned(),
    };
    let outcome = rayon::scope(|_| experiment.run(&mut Unheard, &AtomicBool::new(false)))?;
    let peak = peak_resident_bytes().ok_or("this system does not tell the most memory a process had")?;
    let RunOutcome::Finished(finished) = outcome else { return Err("it did not finish".into()) };
    let record = RunDir::open(finished.dir.path())?.read_record()?;
    let bytes = &record.variants.get(variant).ok_or("no record of the variant")?.bytes;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    for (purpose, &held) in bytes {
        println!("{purpose:<26} {:>9.1} MiB", mib(held));
    }
    let predicted: u64 = bytes.values().sum();
    println!("{:<26} {:>9.1} MiB", "predicted", mib(predicted));
    println!("{:<26} {:>9.1} MiB", "measured", mib(peak));
    println!("{:<26} {:>+9.1} %", "predicted too much", 100.0 * (predicted as f64 / peak as f64 - 1.0));
    Ok(())
}
