//! A stage that was trained before: by another variant of the run, or by another run. What a stage ends with depends on its settings
//! and those of the stages before it alone, so it is taken over, and not trained again, when only later stages differ.

use std::path::Path;

use crossloom_train::checkpoint::{Checkpoint, Checkpoints};
use crossloom_train::run_dir::{RunDir, RunRecord, StageDir, StageRecord, list_runs};

use crate::ExperimentError;
use crate::training_stage::TrainingStage;

/// The files of a stage besides its checkpoints that a reader of the run looks for.
const FILES: [&str; 3] = ["metrics.jsonl", "interface.json", "tokenizer.json"];

/// A finished stage that trained the very same.
pub(crate) struct Twin {
    /// Its folder.
    dir: StageDir,
    /// What is written down of it.
    pub(crate) record: StageRecord,
    /// Where it is, for a reader.
    pub(crate) place: String,
}

/// Another stage that has trained what this one is to train, on the same data with the same words, where numbers have the same bits: in
/// the run itself, or below `out`.
///
/// # Errors
/// The folder of all runs cannot be read.
pub(crate) fn find(
    stage: &TrainingStage,
    run: &RunDir,
    record: &RunRecord,
    out: Option<&Path>,
    tokenizer: &str,
) -> Result<Option<Twin>, ExperimentError> {
    let (Some(name), hash) = (stage.recipe.stage(), stage.recipe.training_hash()) else { return Ok(None) };
    let runs = match out {
        Some(out) => list_runs(out)?.0,
        None => Vec::new(),
    };
    let others = runs.iter().filter(|other| other.dir.id() != run.id() && alike(&other.record, record));
    let candidates = std::iter::once((run, record)).chain(others.map(|other| (&other.dir, &other.record)));
    for (dir, of) in candidates {
        for (variant, entry) in &of.variants {
            let Some(known) = entry.stages.get(name).filter(|known| known.hash == hash) else { continue };
            let found = dir.variant_path(variant)?.stage(Some(name));
            let words = std::fs::read_to_string(found.path().join("tokenizer.json"));
            if found == stage.dir
                || known.steps != stage.recipe.train.steps
                || !words.is_ok_and(|words| words == tokenizer)
            {
                continue;
            }
            let checkpoints = Checkpoints::new(found.checkpoints_path(), 0);
            // What is damaged or gone by now is trained again.
            let last = checkpoints.load(stage.recipe.train.steps);
            if last.is_ok_and(|last| stage.is_last(&last).is_ok() && last.verify().is_ok()) {
                let place = if dir == run {
                    variant.clone()
                } else {
                    format!("{variant} of {}", dir.path().display())
                };
                return Ok(Some(Twin { dir: found, record: known.clone(), place }));
            }
        }
    }
    Ok(None)
}

/// Whether another run had the same data, and computed where the last bits are the same.
fn alike(other: &RunRecord, record: &RunRecord) -> bool {
    let place = |record: &RunRecord| {
        let version = record.versions.get("crossloom").cloned();
        (version, record.device.clone(), record.instruction_set.clone())
    };
    // A run that went on elsewhere says so in a note.
    let moved = other.notes.iter().any(|note| note.starts_with(crate::record::WENT_ON));
    let contents =
        |record: &RunRecord| record.data.iter().map(|data| data.content.clone()).collect::<Vec<_>>();
    let theirs = contents(other);
    place(other) == place(record) && !moved && contents(record).iter().all(|content| theirs.contains(content))
}

impl Twin {
    /// Copies it into the folder of a stage. Its checkpoint comes last and at once, so that one that is there is whole.
    ///
    /// # Errors
    /// It cannot be read, or has changed; the folder cannot be written.
    pub(crate) fn copy_to(&self, stage: &TrainingStage) -> Result<(), ExperimentError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error: std::io::Error| ExperimentError::File { path, message: error.to_string() }
        };
        for file in FILES {
            let path = self.dir.path().join(file);
            let bytes = std::fs::read(&path).map_err(failed(&path))?;
            stage.dir.write(file, &bytes)?;
        }
        let steps = stage.recipe.train.steps;
        let (from, to) = (Checkpoints::new(self.dir.checkpoints_path(), 0), stage.checkpoints());
        let from: Checkpoint<'_> = from.load(steps)?;
        to.save(&from, from.state())?;
        let copied = to.load(steps)?;
        copied.verify()?;
        stage.is_last(&copied)
    }
}

/// A path in a run's folder, as its record writes it.
pub(crate) fn below(run: &RunDir, path: &Path) -> Option<String> {
    let path = path.strip_prefix(run.path()).ok()?;
    let parts = path.components().map(|part| part.as_os_str().to_string_lossy().into_owned());
    Some(parts.collect::<Vec<_>>().join("/"))
}
