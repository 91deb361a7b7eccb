//! Entering a run's folder: what may be done there is settled, under its lock, before anything is written.

use std::path::Path;

use crossloom_recipe::{LoadedRecipe, Recipe, Variant};
use crossloom_train::run_dir::{DataManifest, RunDir, RunLock, RunRecord, VariantDir, check_variant_name};

use crate::changes::nearest_other;
use crate::job::{Entry, Job};
use crate::training_stage::{newest, stages, title};
use crate::{ExperimentError, VariantOutcome, record};

/// Differences to another run that are told.
const TOLD: usize = 6;

/// Why a run is not extended.
const FIXED_LENGTH: &str = ". It cannot be extended: its learning rate depends on the number of all steps. That of \
                            train.schedule = \"constant\" with train.warmup in whole steps does not";

/// A run's folder that may be entered; it need not exist yet. Where it does, its lock is held.
pub struct Claim<'r> {
    wanted: Wanted<'r>,
    existing: Option<(RunDir, RunLock)>,
}

/// What is wanted of the folder.
#[derive(Clone, Copy)]
struct Wanted<'r> {
    recipe: &'r LoadedRecipe,
    variants: &'r [&'r Variant],
    out: &'r Path,
    job: Job,
    entry: Entry,
}

/// A run's folder, held for this process until it is dropped.
pub struct RunFolder {
    /// Its files.
    pub dir: RunDir,
    /// What was recorded there, where that stays: the run is continued, or only some of its variants are run.
    pub record: Option<RunRecord>,
    _lock: RunLock,
}

impl<'r> Claim<'r> {
    /// Locks the folder of a recipe below `out`, if there is one, or the one that is named, and refuses what must not be done there. Nothing is made
    /// or removed.
    ///
    /// # Errors
    /// Another process holds it; work that would be overwritten; nothing to continue or to evaluate.
    pub fn new(
        recipe: &'r LoadedRecipe,
        variants: &'r [&'r Variant],
        out: &'r Path,
        folder: Option<&RunDir>,
        job: Job,
        entry: Entry,
    ) -> Result<Self, ExperimentError> {
        for variant in variants {
            check_variant_name(&variant.name)?;
        }
        let existing = match folder {
            Some(dir) => Some(dir.clone()),
            None => RunDir::existing(out, &recipe.base.name, &recipe.training_hash())?,
        };
        let existing = match existing {
            Some(dir) => {
                let lock = dir.lock()?;
                Some((dir, lock))
            }
            None => None,
        };
        let wanted = Wanted { recipe, variants, out, job, entry };
        wanted.check(existing.as_ref().map(|(dir, _)| dir))?;
        Ok(Self { wanted, existing })
    }

    /// The trainings of a variant that are still to be done, each as the recipe up to its stage. Of one that is trained, the last one is,
    /// which is evaluated; to be evaluated only, the newest one that has a checkpoint is, with the data that all are asked about.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub(crate) fn open(&self, variant: &Variant) -> Result<Vec<Recipe>, ExperimentError> {
        let Wanted { job, entry, .. } = self.wanted;
        let recipe = &variant.recipe;
        let Some((dir, _)) = &self.existing else { return Ok(recipe.by_stage()) };
        let dir = dir.variant_path(&variant.name)?;
        if job == Job::Evaluate {
            let newest = newest(&dir, recipe)?.recipe;
            return Ok(vec![Recipe { data: recipe.data.clone(), ..newest }]);
        }
        let mut open = stages(&dir, recipe);
        if entry == Entry::Resume {
            let mut finished = 0;
            while finished + 1 < open.len() && open[finished].is_finished()? {
                finished += 1;
            }
            open.drain(..finished);
        }
        Ok(open.into_iter().map(|stage| stage.recipe).collect())
    }

    /// Whether a variant was trained to its end and, unless training is all that is asked, evaluated as it would be now.
    ///
    /// # Errors
    /// A folder that cannot be read, or a record or answers that are damaged.
    pub(crate) fn is_done(&self, variant: &Variant, job: Job) -> Result<bool, ExperimentError> {
        let Some((dir, _)) = &self.existing else { return Ok(false) };
        let folder = dir.variant_path(&variant.name)?;
        for stage in stages(&folder, &variant.recipe) {
            if !stage.is_finished()? {
                return Ok(false);
            }
        }
        let Some(record) = record::earlier(dir)? else { return Ok(false) };
        if job == Job::Train {
            return Ok(true);
        }
        Ok(VariantOutcome::earlier(variant, dir, &record)?.is_some())
    }

    /// Makes the folder and those of all variants. Where the run does not continue, what variants of these names left
    /// there goes; other variants stay.
    ///
    /// # Errors
    /// A record that stays and is damaged, or of other data; nothing is removed then.
    pub fn enter(self, data: &[DataManifest]) -> Result<RunFolder, ExperimentError> {
        let Wanted { recipe, variants, out, job, entry } = self.wanted;
        let (dir, lock) = match self.existing {
            Some(existing) => existing,
            None => {
                let dir = RunDir::create(out, &recipe.base.name, &recipe.training_hash())?;
                let lock = dir.lock()?;
                // Another process may have come and gone since.
                self.wanted.check(Some(&dir))?;
                (dir, lock)
            }
        };
        let chosen = |other: &VariantDir| variants.iter().any(|variant| variant.name == other.name());
        let others = dir.variants()?.iter().any(|other| !chosen(other) && other.holds_work());
        let all = variants.len() == recipe.variants.len();
        let continues = entry == Entry::Resume || job == Job::Evaluate;
        let keeps = continues || others || (entry == Entry::Replace && !all);
        let record = if keeps { record::earlier(&dir)? } else { None };
        if let Some(record) = &record {
            record::same_content(record, data)?;
        }
        if entry == Entry::Replace && !keeps {
            dir.clear()?;
        } else if !continues {
            for variant in variants {
                dir.variant_path(&variant.name)?.remove()?;
            }
        }
        for variant in variants {
            dir.variant(&variant.name)?;
        }
        Ok(RunFolder { dir, record, _lock: lock })
    }
}

impl Wanted<'_> {
    /// Refuses to overwrite work, to continue what is not there, and to evaluate what was not trained.
    fn check(self, dir: Option<&RunDir>) -> Result<(), ExperimentError> {
        let Self { recipe, variants, out, job, entry } = self;
        let mut folders = Vec::with_capacity(variants.len());
        for variant in variants {
            if let Some(dir) = dir {
                let folder = dir.variant_path(&variant.name)?;
                for stage in stages(&folder, &variant.recipe) {
                    stage.checkpoints().restore_replaced()?;
                }
                folders.push(folder);
            }
        }
        for (variant, folder) in variants.iter().zip(&folders) {
            for stage in stages(folder, &variant.recipe) {
                let (done, wanted) = (stage.done()?.unwrap_or_default(), stage.recipe.train.steps);
                if done > wanted && entry != Entry::Replace {
                    let at = stage.recipe.stage().map(|stage| format!("stage.{stage}.")).unwrap_or_default();
                    let name = title(&variant.name, &stage.recipe);
                    return Err(ExperimentError::request(
                        format!("`{name}` was trained for {done} steps already, the recipe says {wanted}"),
                        format!(
                            "set {at}train.steps to at least {done}, or begin anew with --force or another --out"
                        ),
                    ));
                }
            }
        }
        let trained = folders.iter().filter(|folder| folder.holds_checkpoint()).count();
        let id = RunDir::id_of(&recipe.base.name, &recipe.training_hash());
        let path = dir.map_or_else(|| out.join(id), |dir| dir.path().to_owned());
        let path = path.display();
        if job == Job::Evaluate && trained < variants.len() {
            let untrained = |folder: &&Variant| {
                !folders.iter().any(|other| other.name() == folder.name && other.holds_checkpoint())
            };
            let names: Vec<String> =
                variants.iter().filter(|v| untrained(v)).map(|v| format!("`{}`", v.name)).collect();
            return Err(ExperimentError::request(
                format!("{path} holds no checkpoint of {}", names.join(", ")),
                format!("train it first: crossloom train, or crossloom run{}", self.elsewhere()),
            ));
        }
        if entry == Entry::Resume && trained == 0 {
            return Err(ExperimentError::request(
                format!("there is nothing to resume: {path} holds no checkpoint"),
                format!("leave --resume out to start{}", self.elsewhere()),
            ));
        }
        if entry == Entry::New && job != Job::Evaluate && folders.iter().any(VariantDir::holds_work) {
            return Err(ExperimentError::request(
                format!("{path} holds a run of this very recipe"),
                "continue it with --resume, replace it with --force, or write elsewhere with --out",
            ));
        }
        Ok(())
    }

    /// Where a run of the recipe lies that was made with other settings, and which.
    fn elsewhere(self) -> String {
        let Some((other, changes)) = nearest_other(self.out, self.recipe) else { return String::new() };
        let told: Vec<String> = changes.iter().take(TOLD).map(ToString::to_string).collect();
        let more = if changes.len() > TOLD { ", …" } else { "" };
        let path = other.path().display();
        if told.is_empty() {
            return format!("; {path} is another run of it");
        }
        let only_longer = changes.iter().all(|change| change.key.ends_with("train.steps"));
        let rule = if only_longer { FIXED_LENGTH } else { "" };
        format!("; {path} was made with other settings: {}{more}{rule}", told.join(", "))
    }
}
