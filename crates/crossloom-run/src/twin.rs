//! A training that was done before: by another variant of the run, or by another run. What a training ends with depends on its settings
//! and those of the stages before it alone, so it is taken over, and not done again: by studies that share a variant, and where only
//! later stages differ.

use std::collections::BTreeMap;
use std::path::Path;

use crossloom_recipe::{Eval, Recipe};
use crossloom_train::checkpoint::{Checkpoint, Checkpoints};
use crossloom_train::metrics::MetricPhase;
use crossloom_train::run_dir::{
    RunDir, RunRecord, RunStatus, StageDir, StageRecord, VariantRecord, list_runs,
};

use crate::ExperimentError;
use crate::datasets::DataSets;
use crate::progress::RunProgress;
use crate::record::{WENT_ON, data_manifest};
use crate::resolved;
use crate::training_stage::TrainingStage;

/// The files of a training besides its checkpoints that a reader of the run looks for.
const FILES: [&str; 3] = [METRICS, "interface.json", "tokenizer.json"];
const METRICS: &str = "metrics.jsonl";

/// Takes over what another variant or run trained for this very variant, or this stage of it, where there is such and nothing was trained
/// here yet; says whether it was. `out` is the folder of other runs, if theirs are wanted.
///
/// # Errors
/// The folder of all runs cannot be read, or that of the training not written.
pub(crate) fn take_over(
    stage: &TrainingStage,
    variant: &str,
    data: &DataSets,
    run: &RunDir,
    out: Option<&Path>,
    record: &mut RunRecord,
    progress: &mut dyn RunProgress,
) -> Result<bool, ExperimentError> {
    if stage.done()?.is_some() {
        return Ok(false);
    }
    let Some(twin) = find(stage, data, run, record, out)? else { return Ok(false) };
    let name = stage.recipe.stage();
    run.variant(variant)?.enter_stage(name)?;
    let steps = stage.recipe.train.steps;
    let checkpoint = below(run, &stage.checkpoints().path_of(steps));
    let what = name.map_or("its training".to_owned(), |name| format!("the stage `{name}`"));
    let note = format!("`{variant}`: {what} is that of {}, which trained the same", twin.place);
    progress.note(&note);
    // Where it is from is written down before it is there.
    if !record.notes.contains(&note) {
        record.notes.push(note);
    }
    let entry = record.variants.entry(variant.to_owned()).or_default();
    (entry.steps, entry.final_loss) = (stage.before + steps, twin.record.final_loss);
    entry.checkpoint.clone_from(&checkpoint);
    entry.status = RunStatus::Interrupted;
    let taken_from = Some(twin.place.clone());
    match name {
        Some(name) => {
            let own = StageRecord { seconds: 0.0, checkpoint, taken_from, ..twin.record.clone() };
            entry.stages.insert(name.to_owned(), own);
        }
        None => (entry.taken_from, entry.step_ms) = (taken_from, twin.record.step_ms),
    }
    if stage.recipe.eval.every.is_some() && !twin.asked {
        let note = format!(
            "`{variant}`: {what} has no curve of answers, as {} was not asked in between as `eval` says here",
            twin.place
        );
        progress.note(&note);
        if !record.notes.contains(&note) {
            record.notes.push(note);
        }
    }
    run.write_record(record)?;
    twin.copy_to(stage)?;
    Ok(true)
}

/// A finished training of the very same.
struct Twin {
    /// Its folder.
    dir: StageDir,
    /// What is written down of it.
    record: StageRecord,
    /// Whether it was asked in between as this one would be.
    asked: bool,
    /// Where it is, for a reader.
    place: String,
}

/// Another training of what this one is to train, on the same data with the same words, where numbers have the same bits: in
/// the run itself, or below `out`.
fn find(
    stage: &TrainingStage,
    data: &DataSets,
    run: &RunDir,
    record: &RunRecord,
    out: Option<&Path>,
) -> Result<Option<Twin>, ExperimentError> {
    let wanted = Wanted::new(stage, data)?;
    let runs = match out {
        Some(out) => list_runs(out)?.0,
        None => Vec::new(),
    };
    let others = runs.iter().filter(|other| other.dir.id() != run.id() && alike(&other.record, record));
    let candidates = std::iter::once((run, record)).chain(others.map(|other| (&other.dir, &other.record)));
    for (dir, of) in candidates {
        for (variant, entry) in &of.variants {
            let Some(known) = wanted.recorded(of, entry) else { continue };
            let found = dir.variant_path(variant)?.stage(stage.recipe.stage());
            if found == stage.dir || !wanted.lies_in(&found) {
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
                let asked = asked_alike(dir, variant, &stage.recipe);
                return Ok(Some(Twin { dir: found, record: known, asked, place }));
            }
        }
    }
    Ok(None)
}

/// What a training depends on.
struct Wanted {
    steps: u64,
    /// The stages up to it, each with its hash and the content of its data.
    chain: Vec<(String, String, BTreeMap<String, String>)>,
    tokenizer: String,
}

impl Wanted {
    fn new(stage: &TrainingStage, data: &DataSets) -> Result<Self, ExperimentError> {
        let mut chain = Vec::new();
        for recipe in stage.recipe.by_stage() {
            let name = recipe.stage().unwrap_or_default().to_owned();
            chain.push((name, recipe.training_hash(), data_manifest(data.of(&recipe)?).content));
        }
        let tokenizer = data.of(&stage.recipe)?.tokenizer.to_json()?;
        Ok(Self { steps: stage.recipe.train.steps, chain, tokenizer })
    }

    /// What a record of a run says of the training, if it is the same and done.
    fn recorded(&self, run: &RunRecord, entry: &VariantRecord) -> Option<StageRecord> {
        if let [(name, hash, content)] = &self.chain[..]
            && name.is_empty()
        {
            // Of a training without stages the checkpoint has the hash, and the run all of its data.
            let trained = entry.stages.is_empty() && entry.steps == self.steps;
            let on_these = run.data.iter().any(|data| data.content == *content);
            return (trained && on_these).then(|| StageRecord {
                hash: hash.clone(),
                data: content.clone(),
                steps: entry.steps,
                trainable_parameters: entry.trainable_parameters,
                final_loss: entry.final_loss,
                step_ms: entry.step_ms,
                ..StageRecord::default()
            });
        }
        let same = |(name, hash, data): &(String, String, BTreeMap<String, String>)| {
            entry.stages.get(name).filter(|known| known.hash == *hash && known.data == *data)
        };
        let stages: Option<Vec<&StageRecord>> = self.chain.iter().map(same).collect();
        stages?.pop().filter(|last| last.steps == self.steps).cloned()
    }

    /// Whether a folder has all its files, and the same words.
    fn lies_in(&self, folder: &StageDir) -> bool {
        let words = std::fs::read_to_string(folder.path().join("tokenizer.json"));
        FILES.iter().all(|file| folder.path().join(file).is_file())
            && words.is_ok_and(|words| words == self.tokenizer)
    }
}

/// Whether a variant of a run was asked in between as a recipe says: the same questions, as often, answered and scored in the same way.
fn asked_alike(run: &RunDir, variant: &str, recipe: &Recipe) -> bool {
    let Ok(kept) = resolved::kept(run) else { return false };
    let Some(other) = kept.variant(variant).map(|of| &of.recipe.eval) else { return false };
    let Eval { permutations, confidence, .. } = recipe.eval;
    Eval { permutations, confidence, ..other.clone() } == recipe.eval
}

/// Metrics without what was measured of a sample of the questions.
fn without_answers(metrics: &[u8]) -> Vec<u8> {
    let of_sample = |line: &[u8]| {
        let record = serde_json::from_slice::<serde_json::Value>(line);
        record.is_ok_and(|record| record["phase"] == MetricPhase::Evaluate.name())
    };
    metrics
        .split_inclusive(|&byte| byte == b'\n')
        .filter(|line| !of_sample(line))
        .collect::<Vec<_>>()
        .concat()
}

/// Whether another run computed where the last bits are the same.
fn alike(other: &RunRecord, record: &RunRecord) -> bool {
    let place = |record: &RunRecord| {
        let version = record.versions.get("crossloom").cloned();
        (version, record.device.clone(), record.instruction_set.clone())
    };
    // A run that went on elsewhere says so in a note.
    place(other) == place(record) && !other.notes.iter().any(|note| note.starts_with(WENT_ON))
}

impl Twin {
    /// Copies it into the folder of a stage. Its checkpoint comes last and at once, so that one that is there is whole.
    fn copy_to(&self, stage: &TrainingStage) -> Result<(), ExperimentError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error: std::io::Error| ExperimentError::File { path, message: error.to_string() }
        };
        for file in FILES {
            let path = self.dir.path().join(file);
            let bytes = std::fs::read(&path).map_err(failed(&path))?;
            let bytes = if file == METRICS && !self.asked { without_answers(&bytes) } else { bytes };
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
