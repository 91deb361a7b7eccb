//! Small runs of `recipes/synthetic.toml`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crossloom_recipe::{LoadOptions, LoadedRecipe, load};
use crossloom_run::backends::Resources;
use crossloom_run::{Experiment, ExperimentError, Finished, Job, RunOutcome, RunProgress, Unheard};

pub(crate) use crossloom_run::Entry;
use crossloom_train::progress::{Phase, Progress, ProgressUpdate};

/// A dozen pictures, a handful of steps.
const SMALL: [&str; 8] = [
    "data.source={ kind = 'synthetic', train_images = 12, test_images = 6, questions_per_image = 4 }",
    "data.questions_per_sequence=4",
    "train.steps=6",
    "variants.question_only.train.steps=4",
    "train.batch_size=4",
    "train.warmup=2",
    "train.log_every=1",
    "eval.permutations=100",
];

pub(crate) fn recipe(sets: &[&str]) -> LoadedRecipe {
    try_recipe(sets).unwrap_or_else(|e| panic!("{e}"))
}

pub(crate) fn try_recipe(sets: &[&str]) -> Result<LoadedRecipe, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/synthetic.toml");
    load(&path, &LoadOptions { sets: self::sets(sets) }).map_err(|e| e.to_string())
}

/// The settings of a small run, and more.
pub(crate) fn sets(more: &[&str]) -> Vec<String> {
    SMALL.iter().chain(more).map(|set| (*set).to_owned()).collect()
}

/// Sets a stop flag once so many training steps are done, as a person who presses Ctrl-C would.
pub(crate) struct StopAfter<'s> {
    pub(crate) steps: u64,
    pub(crate) stop: &'s AtomicBool,
}

impl Progress for StopAfter<'_> {
    fn update(&mut self, update: &ProgressUpdate) {
        if update.phase == Phase::Train && update.step == self.steps {
            self.stop.store(true, Ordering::SeqCst);
        }
    }
}
impl RunProgress for StopAfter<'_> {}

pub(crate) fn request<'r>(
    recipe: &'r LoadedRecipe,
    variants: &[&str],
    out: &Path,
    entry: Entry,
) -> Experiment<'r> {
    Experiment {
        recipe,
        job: Job::All,
        variants: variants.iter().map(|name| (*name).to_owned()).collect(),
        out: out.to_owned(),
        folder: None,
        entry,
        resources: Resources::default(),
        command: "crossloom run recipes/synthetic.toml".to_owned(),
    }
}

pub(crate) fn try_run(
    recipe: &LoadedRecipe,
    variants: &[&str],
    out: &Path,
    entry: Entry,
) -> Result<Box<Finished>, ExperimentError> {
    match request(recipe, variants, out, entry).run(&mut Unheard, &AtomicBool::new(false))? {
        RunOutcome::Finished(finished) => Ok(finished),
        RunOutcome::Trained { .. } | RunOutcome::Interrupted { .. } => panic!("nobody asked for a stop"),
    }
}

pub(crate) fn finish(recipe: &LoadedRecipe, variants: &[&str], out: &Path, entry: Entry) -> Box<Finished> {
    try_run(recipe, variants, out, entry).unwrap_or_else(|e| panic!("{e}"))
}

/// Runs until so many steps are done, then stops; returns the run's folder.
pub(crate) fn interrupt(
    recipe: &LoadedRecipe,
    variants: &[&str],
    out: &Path,
    entry: Entry,
    steps: u64,
) -> PathBuf {
    let stop = AtomicBool::new(false);
    let mut reporter = StopAfter { steps, stop: &stop };
    match request(recipe, variants, out, entry).run(&mut reporter, &stop).unwrap_or_else(|e| panic!("{e}")) {
        RunOutcome::Interrupted { dir } => dir,
        RunOutcome::Finished(_) | RunOutcome::Trained { .. } => panic!("the run does not stop"),
    }
}
