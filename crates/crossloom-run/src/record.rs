//! What a run writes down about itself.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use crossloom_compiler::Plan;
use crossloom_recipe::{Recipe, Selection, Split, Variant};
use crossloom_runtime::RunError;
use crossloom_runtime::limits::Need;
use crossloom_train::run_dir::{DataManifest, RunDir, RunDirError, RunRecord, RunStatus, VariantRecord};
use crossloom_train::trainer::seconds_since_1970;
use indexmap::IndexMap;

use crate::backends::Backend;
use crate::graph::{group_of, precision};
use crate::job::Job;
use crate::machine::processor;
use crate::model::Model;
use crate::{Data, Experiment, ExperimentError, git, resolved};

/// Begins the record of a run, or continues the one that was there, and writes it with the resolved recipe. `notes` are what
/// there is to say of this process.
pub(crate) fn begin(
    experiment: &Experiment<'_>,
    dir: &RunDir,
    earlier: Option<RunRecord>,
    variants: &[&Variant],
    data: Vec<DataManifest>,
    notes: Vec<String>,
) -> Result<RunRecord, ExperimentError> {
    let Experiment { recipe: loaded, job, resources, .. } = *experiment;
    // The recipe was found in the run's folder, and not where it was written.
    let moved = experiment.folder.is_some();
    let mut record = earlier.unwrap_or_else(|| RunRecord::new(&loaded.base.name, &loaded.training_hash()));
    // A variant that begins anew has nothing of its past left.
    for variant in variants {
        if !dir.variant(&variant.name)?.holds_work() {
            record.variants.shift_remove(&variant.name);
        }
    }
    record.touch(seconds_since_1970());
    record.status = RunStatus::Running;
    if !moved {
        record.recipe_path = loaded.path.display().to_string();
    }
    record.versions.insert("crossloom".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    if !moved {
        let commit = git::commit_of(&loaded.files);
        (record.git_commit, record.git_dirty) = commit.map(|commit| (commit.hash, commit.dirty)).unzip();
    }
    // What a run was evaluated on says nothing of how it was trained.
    if job != Job::Evaluate || record.device.is_empty() {
        record.notes.extend(went_on_elsewhere(&record, resources.backend)?);
        (record.device, record.instruction_set) = here(resources.backend)?;
        record.threads = rayon::current_num_threads() as u64;
    }
    // A run that goes on is told once what is true of it all the time.
    let new: Vec<String> = notes.into_iter().filter(|note| !record.notes.contains(note)).collect();
    record.notes.extend(new);
    record.seeds = shared_seeds(&loaded.variants);
    record.data = data;
    dir.write("recipe.resolved.toml", resolved::text(loaded)?.as_bytes())?;
    dir.write_record(&record)?;
    Ok(record)
}

/// The device and the instruction set of its kernels.
fn here(backend: Backend) -> Result<(String, String), RunError> {
    let device = backend.device_name()?.or_else(processor);
    let device = device.unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    Ok((device, backend.instruction_set()?.to_owned()))
}

/// Begins the note of a run that went on elsewhere.
pub(crate) const WENT_ON: &str = "went on with";

/// Where bit-identity ends: steps of a run that goes on with another instruction set, or on another processor, differ in
/// their last bits from those that would have been.
fn went_on_elsewhere(record: &RunRecord, backend: Backend) -> Result<Option<String>, RunError> {
    let (device, set) = here(backend)?;
    let (before, old_set) = (&record.device, &record.instruction_set);
    let steps = record.variants.values().map(|variant| variant.steps).max().unwrap_or_default();
    if before.is_empty() || steps == 0 || (*before == device && *old_set == set) {
        return Ok(None);
    }
    let old_set = if old_set.is_empty() { "unknown" } else { old_set };
    Ok(Some(format!(
        "{WENT_ON} {device} ({set}) after {before} ({old_set}): from the last checkpoint on, the last bits may differ from \
         a run that never moved"
    )))
}

/// What is known of a variant once it is compiled; what an earlier process found out stays.
pub(crate) fn describe(entry: &mut VariantRecord, recipe: &Recipe, model: &Model, need: &Need) {
    entry.parameters = model.parameters();
    entry.trainable_parameters = trained(recipe, model);
    entry.seeds = seeds(recipe);
    entry.precision = precision(recipe);
    // A model that only predicts says nothing new about its training.
    if model.training.is_some() {
        entry.kernel_choices = kernel_choices(model);
        entry.step_flops = model.step_flops(recipe.train.accumulate as u64);
        entry.bytes = need.parts().map(|(purpose, bytes)| (purpose.to_owned(), bytes)).collect();
    }
}

/// The seeds of a variant by purpose.
fn seeds(recipe: &Recipe) -> BTreeMap<String, u64> {
    let seeds = [("train", recipe.train.seed), ("data", recipe.data.seed), ("eval", recipe.eval.seed)];
    seeds.into_iter().map(|(purpose, seed)| (purpose.to_owned(), seed)).collect()
}

/// The seeds in which all variants agree.
fn shared_seeds(variants: &[Variant]) -> BTreeMap<String, u64> {
    let mut shared = variants.first().map(|variant| seeds(&variant.recipe)).unwrap_or_default();
    for variant in variants {
        let own = seeds(&variant.recipe);
        shared.retain(|purpose, seed| own.get(purpose) == Some(seed));
    }
    shared
}

fn trained(recipe: &Recipe, model: &Model) -> u64 {
    let selection = Selection::new(&recipe.train);
    let trained = model.params.iter().filter(|param| group_of(&selection, param).is_some());
    trained.map(crossloom_model::ParamSpec::elements).sum()
}

/// The kernel of every planned op, named by its plan and its first result, as `graph --stage plan` prints them.
fn kernel_choices(model: &Model) -> IndexMap<String, String> {
    let of_plan = |name: &'static str, plan: &Plan| -> Vec<(String, String)> {
        let site = |number: usize, step: &crossloom_compiler::plan::Step| {
            let value = plan.func.inst(step.inst).outputs.first();
            value.map_or_else(|| format!("{name} call {number}"), |value| format!("{name} {value}"))
        };
        let named = plan.steps.iter().enumerate();
        named.map(|(number, step)| (site(number, step), step.kernel.clone())).collect()
    };
    model.sessions().flat_map(|(name, session)| of_plan(name, session.plan())).collect()
}

/// The record of a run that is there; `None` where it has none. A damaged one is not replaced unasked.
pub(crate) fn earlier(dir: &RunDir) -> Result<Option<RunRecord>, ExperimentError> {
    match dir.read_record() {
        Ok(record) => Ok(Some(record)),
        Err(RunDirError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Refuses to continue a run with other data than it began with.
pub(crate) fn same_content(record: &RunRecord, data: &[DataManifest]) -> Result<(), ExperimentError> {
    for (before, now) in record.data.iter().zip(data) {
        // Older records have no hashes.
        let changed = |(split, hash): &(&String, &String)| now.content.get(*split) != Some(*hash);
        if let Some((split, _)) = before.content.iter().find(changed) {
            return Err(ExperimentError::request(
                format!(
                    "the data is not what the run began with: the {split} split of {} has changed",
                    now.name
                ),
                "put the former data back, replace the whole run with --force, or write elsewhere with --out",
            ));
        }
    }
    Ok(())
}

/// What is written down of the data.
pub(crate) fn data_manifest(data: &Data) -> DataManifest {
    let manifest = data.manifest();
    let splits = [("train", Split::Train), ("validation", Split::Validation), ("test", Split::Test)];
    let asset = data.asset();
    DataManifest {
        name: manifest.name,
        version: asset.as_ref().map(|asset| asset.version.clone()).unwrap_or_default(),
        source: manifest.source,
        sha256: asset.map(|asset| asset.sha256).unwrap_or_default(),
        splits: splits
            .into_iter()
            .map(|(name, split)| (name.to_owned(), data.images(split).1.examples().len() as u64))
            .filter(|(_, questions)| *questions > 0)
            .chain(data.conversations().map(|_| ("train".to_owned(), manifest.train.examples as u64)))
            .collect(),
        content: [("train", manifest.train.blake3), ("test", manifest.test.blake3)]
            .map(|(split, hash)| (split.to_owned(), hash))
            .into(),
    }
}
