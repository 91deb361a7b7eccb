//! Entering a run's folder: what may be done there is settled, under its lock, before anything is written.

use crossloom_recipe::Variant;
use crossloom_train::checkpoint::Checkpoints;
use crossloom_train::run_dir::{DataManifest, RunDir, RunLock, RunRecord, VariantDir, check_variant_name};

use super::changes::nearest_other;
use super::run::{Job, RunRequest};
use super::{ExperimentError, record};

/// Differences to another run that are told.
const TOLD: usize = 6;

/// A run's folder that may be entered; it need not exist yet.
pub(super) struct Reserved {
    existing: Option<(RunDir, RunLock)>,
}

/// A run's folder, held for this process.
pub(super) struct Entered {
    pub(super) dir: RunDir,
    /// What was recorded there, where that stays: the run is continued, or only some of its variants are run.
    pub(super) record: Option<RunRecord>,
    _lock: RunLock,
}

impl Reserved {
    /// Locks the folder, if there is one, and refuses what must not be done there. Nothing is made or removed.
    pub(super) fn new(request: &RunRequest<'_>, variants: &[&Variant]) -> Result<Self, ExperimentError> {
        for variant in variants {
            check_variant_name(&variant.name)?;
        }
        let (name, hash) = (&request.recipe.base.name, request.recipe.training_hash());
        let existing = match RunDir::existing(&request.out, name, &hash)? {
            Some(dir) => {
                let lock = dir.lock()?;
                Some((dir, lock))
            }
            None => None,
        };
        check(request, variants, existing.as_ref().map(|(dir, _)| dir))?;
        Ok(Self { existing })
    }

    /// Makes the folder and those of all variants. Where the run does not continue, what variants of these names left
    /// there goes; other variants stay.
    ///
    /// # Errors
    /// A record that stays and is damaged, or of other data; nothing is removed then.
    pub(super) fn enter(
        self,
        request: &RunRequest<'_>,
        variants: &[&Variant],
        data: &DataManifest,
    ) -> Result<Entered, ExperimentError> {
        let (dir, lock) = match self.existing {
            Some(existing) => existing,
            None => {
                let loaded = request.recipe;
                let dir = RunDir::create(&request.out, &loaded.base.name, &loaded.training_hash())?;
                let lock = dir.lock()?;
                // Another process may have come and gone since.
                check(request, variants, Some(&dir))?;
                (dir, lock)
            }
        };
        let chosen = |other: &VariantDir| variants.iter().any(|variant| variant.name == other.name());
        let others = dir.variants()?.iter().any(|other| !chosen(other) && other.holds_work());
        let all = variants.len() == request.recipe.variants.len();
        let continues = request.resume || request.job == Job::Evaluate;
        let keeps = continues || others || (request.force && !all);
        let record = if keeps { record::earlier(&dir)? } else { None };
        if let Some(record) = &record {
            record::same_content(record, data)?;
        }
        if request.force && !keeps {
            dir.clear()?;
        } else if !continues {
            for variant in variants {
                dir.variant_path(&variant.name)?.remove()?;
            }
        }
        for variant in variants {
            dir.variant(&variant.name)?;
        }
        Ok(Entered { dir, record, _lock: lock })
    }
}

/// Refuses to overwrite work, to continue what is not there, and to evaluate what was not trained.
fn check(
    request: &RunRequest<'_>,
    variants: &[&Variant],
    dir: Option<&RunDir>,
) -> Result<(), ExperimentError> {
    let mut folders = Vec::with_capacity(variants.len());
    for variant in variants {
        if let Some(dir) = dir {
            let folder = dir.variant_path(&variant.name)?;
            Checkpoints::new(folder.checkpoints_path(), 0).restore_replaced()?;
            folders.push(folder);
        }
    }
    let trained = folders.iter().filter(|folder| folder.holds_checkpoint()).count();
    let id = RunDir::id_of(&request.recipe.base.name, &request.recipe.training_hash());
    let path = request.out.join(id);
    let path = path.display();
    if request.job == Job::Evaluate && trained < variants.len() {
        let untrained = |folder: &&Variant| {
            !folders.iter().any(|other| other.name() == folder.name && other.holds_checkpoint())
        };
        let names: Vec<String> =
            variants.iter().filter(|v| untrained(v)).map(|v| format!("`{}`", v.name)).collect();
        return Err(ExperimentError::request(
            format!("{path} holds no checkpoint of {}", names.join(", ")),
            format!("train it first: crossloom train, or crossloom run{}", elsewhere(request)),
        ));
    }
    if request.resume && trained == 0 {
        return Err(ExperimentError::request(
            format!("there is nothing to resume: {path} holds no checkpoint"),
            format!("leave --resume out to start{}", elsewhere(request)),
        ));
    }
    let continues = request.resume || request.force || request.job == Job::Evaluate;
    if !continues && folders.iter().any(VariantDir::holds_work) {
        return Err(ExperimentError::request(
            format!("{path} holds a run of this very recipe"),
            "continue it with --resume, replace it with --force, or write elsewhere with --out",
        ));
    }
    Ok(())
}

/// Where a run of the recipe lies that was made with other settings, and which.
fn elsewhere(request: &RunRequest<'_>) -> String {
    let Some((other, changes)) = nearest_other(&request.out, request.recipe) else { return String::new() };
    let told: Vec<String> = changes.iter().take(TOLD).map(ToString::to_string).collect();
    let more = if changes.len() > TOLD { ", …" } else { "" };
    let path = other.path().display();
    if told.is_empty() {
        return format!("; {path} is another run of it");
    }
    format!("; {path} was made with other settings: {}{more}", told.join(", "))
}
