//! The main job: every variant of a recipe trained, evaluated, compared and reported.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use crossloom_data::assets::AssetEvent;
use crossloom_data::packing::PackingPlan;
use crossloom_eval::compare::Comparison;
use crossloom_recipe::{LoadedRecipe, Recipe, Source, Variant};
use crossloom_runtime::Device;
use crossloom_train::run_dir::{DataManifest, RunDir, RunRecord, RunStatus};
use crossloom_train::trainer::seconds_since_1970;

use crate::backends::Resources;
use crate::batch::batch_shape;
use crate::data::{cache, foreign_words, same_questions};
use crate::datasets::DataSets;
use crate::evaluate::check_metric;
use crate::folder::Claim;
use crate::job::{Entry, Job};
use crate::memory::{DataNeed, Fit, Need, fits};
use crate::processor::foreign_pictures;
use crate::programs::Programs;
use crate::progress::{Activity, RunProgress};
use crate::start::{Start, is_settled};
use crate::states::{Disk, States};
use crate::training_stage::{TrainingStage, title};
use crate::twin::take_over;
use crate::variant::{Compiled, CompiledStage, VariantRun};
use crate::{ExperimentError, VariantOutcome, compare, record, report, train};

/// A recipe that is run.
#[derive(Clone, Debug)]
pub struct Experiment<'r> {
    /// The recipe with its variants.
    pub recipe: &'r LoadedRecipe,
    /// How much of the road is walked.
    pub job: Job,
    /// Variants to run; empty means all.
    pub variants: Vec<String>,
    /// The folder of all runs.
    pub out: PathBuf,
    /// The run's own folder, where it is known, as of a run that was moved; else it is the recipe's below `out`.
    pub folder: Option<RunDir>,
    /// What becomes of a run that is there already.
    pub entry: Entry,
    /// What it runs on.
    pub resources: Resources,
    /// The command as it was typed, for the report.
    pub command: String,
}

/// A finished run.
pub struct Finished {
    /// Its folder.
    pub dir: RunDir,
    /// All variants that were evaluated, now or before, in the recipe's order.
    pub variants: Vec<VariantOutcome>,
    /// Their comparison; `None` where all of them are references.
    pub comparison: Option<Comparison>,
    /// The report.
    pub report: PathBuf,
}

/// How a run ended.
pub enum RunOutcome {
    /// All variants are done.
    Finished(Box<Finished>),
    /// All variants are trained, as was asked.
    Trained {
        /// The run's folder.
        dir: PathBuf,
    },
    /// Stopped on request; the newest checkpoint holds all completed steps.
    Interrupted {
        /// The run's folder.
        dir: PathBuf,
    },
}

impl<'r> Experiment<'r> {
    /// Runs it. Whatever can be refused is refused, and the data is read, before anything is written.
    ///
    /// # Errors
    /// Anything that keeps a variant from being trained, evaluated or written down. The run record then says `failed` and
    /// what was finished stays.
    pub fn run(
        &self,
        progress: &mut dyn RunProgress,
        stop: &AtomicBool,
    ) -> Result<RunOutcome, ExperimentError> {
        let started = Instant::now();
        let loaded = self.recipe;
        tracing::info!(recipe = %loaded.base.name, job = ?self.job, entry = ?self.entry, "experiment");
        let variants = self.chosen()?;
        let Some(first) = variants.first() else {
            return Err(ExperimentError::request("the recipe has no variant", "add a [variants.NAME] table"));
        };
        same_questions(&loaded.variants)?;
        is_settled(loaded)?;
        self.has_questions(&variants)?;
        let device = self.resources.backend.running()?;
        let claim = Claim::new(loaded, &variants, &self.out, self.folder.as_ref(), self.job, self.entry)?;
        let folder = loaded.path.parent().unwrap_or(Path::new("."));
        let data = DataSets::of_variants(&loaded.variants, folder, stop, &mut |event| {
            if worth_a_line(&event) {
                progress.note(&event.to_string());
            }
        });
        let data = data.map_err(|error| match &self.folder {
            Some(run) => error.of_run(run.path()),
            None => error,
        })?;
        let read = started.elapsed().as_secs_f64();
        // All variants are asked the same.
        let asked = data.of(&first.recipe)?;
        tracing::info!(name = asked.name(), seconds = read, "data read");
        let (done, open): (Vec<&Variant>, Vec<&Variant>) = self.divided(&variants, &claim)?;
        for variant in &done {
            progress.note(&format!("`{}` is done and stays as it is", variant.name));
        }
        let compiled = self.compiled(&open, &claim, &data, &*device, progress)?;
        let manifests: Vec<DataManifest> = data.iter().map(record::data_manifest).collect();
        let mut held = claim.enter(&manifests)?;
        tracing::info!(folder = %held.dir.path().display(), "folder entered");
        let earlier_record = held.record.take();
        let told = earlier_record.as_ref().map_or(0, |record| record.notes.len());
        let before = earlier_record.as_ref().map(|record| record.status.clone());
        let dir = &held.dir;
        let stages = compiled.iter().flat_map(|compiled| &compiled.stages);
        let notes = stages.flat_map(|stage| stage.notes.clone());
        let notes = notes.chain(self.resources.backend.notes()?).collect();
        let mut record = record::begin(self, dir, earlier_record, &variants, manifests, notes)?;
        for note in record.notes.iter().skip(told) {
            progress.note(note);
        }
        *record.seconds.entry("data".to_owned()).or_insert(0.0) += read;
        let earlier = record.seconds.get("total").copied().unwrap_or_default();
        let tick = |record: &mut RunRecord| {
            record.seconds.insert("total".to_owned(), earlier + started.elapsed().as_secs_f64());
            record.touch(seconds_since_1970());
        };

        let worked = self.run_variants(compiled, &device, dir, &data, &mut record, progress, stop);
        let chosen = self.resources.backend.chosen()?.into_iter();
        record.algorithms.extend(chosen.map(|one| (one.product, format!("{}, {}", one.algorithm, one.how))));
        let place = |name: &String| loaded.variants.iter().position(|variant| variant.name == *name);
        record.variants.sort_by(|a, _, b, _| place(a).cmp(&place(b)));
        tick(&mut record);
        let outcome = worked.and_then(|outcomes| match outcomes {
            None => Ok(RunOutcome::Interrupted { dir: dir.path().to_owned() }),
            Some(_) if self.job == Job::Train => Ok(RunOutcome::Trained { dir: dir.path().to_owned() }),
            Some(outcomes) => {
                let variants = compare::with_earlier(loaded, dir, &record, outcomes, progress)?;
                let comparison = compare::write(loaded, dir, asked, &variants)?;
                for variant in &variants {
                    if let Some(note) = &variant.gate_note {
                        progress.note(&format!("`{}`: {note}", variant.name));
                    }
                }
                let report = report::write(
                    loaded,
                    &self.command,
                    dir,
                    &record,
                    asked,
                    &variants,
                    comparison.as_ref(),
                )?;
                let dir = dir.clone();
                Ok(RunOutcome::Finished(Box::new(Finished { dir, variants, comparison, report })))
            }
        });
        tick(&mut record);
        record.status = match &outcome {
            Ok(RunOutcome::Finished(finished))
                if finished.variants.iter().all(VariantOutcome::is_trained) =>
            {
                RunStatus::Finished
            }
            Ok(RunOutcome::Finished(_)) => RunStatus::Interrupted,
            Ok(RunOutcome::Trained { .. }) => RunStatus::Trained,
            Ok(RunOutcome::Interrupted { .. }) => match before {
                // An evaluation that is stopped takes nothing from a run.
                Some(before) if self.job == Job::Evaluate && before != RunStatus::Running => before,
                _ => RunStatus::Interrupted,
            },
            Err(error) => RunStatus::Failed { error: error.to_string() },
        };
        tracing::info!(status = record.status.name(), "experiment ended");
        let written = dir.write_record(&record);
        // Where both fail, as on a full disk, the first failure is the one to tell.
        let outcome = outcome?;
        written?;
        Ok(outcome)
    }

    /// Answers need test samples.
    fn has_questions(&self, variants: &[&Variant]) -> Result<(), ExperimentError> {
        let untested = |variant: &&&Variant| {
            matches!(variant.recipe.data.source, Source::Conversations { test: None, .. })
        };
        let tiled = |variant: &&&Variant| {
            let Recipe { data, model, .. } = &variant.recipe;
            matches!(data.source, Source::Conversations { .. }) && model.vision.anyres.is_some()
        };
        if let Some(variant) = variants.iter().find(tiled).filter(|_| self.job != Job::Train) {
            return Err(ExperimentError::request(
                format!(
                    "variant `{}` is trained on pictures in tiles, and answers are about whole ones",
                    variant.name
                ),
                "train alone: crossloom train; or remove model.vision.anyres",
            ));
        }
        match variants.iter().find(untested) {
            Some(variant) if self.job != Job::Train => Err(ExperimentError::request(
                format!("variant `{}` has no test samples to be evaluated on", variant.name),
                "name them as data.source.test, or train alone: crossloom train",
            )),
            _ => Ok(()),
        }
    }

    /// The variants that are run, in the recipe's order.
    fn chosen(&self) -> Result<Vec<&'r Variant>, ExperimentError> {
        let (loaded, names) = (self.recipe, &self.variants);
        let known: Vec<&str> = loaded.variants.iter().map(|v| v.name.as_str()).collect();
        if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
            return Err(ExperimentError::request(
                format!("the recipe has no variant `{unknown}`"),
                format!("it has {}", known.join(", ")),
            ));
        }
        Ok(loaded.variants.iter().filter(|v| names.is_empty() || names.contains(&v.name)).collect())
    }

    /// The variants that need nothing more, and those that do. A run that goes on leaves alone what was trained and, where that is
    /// asked for, evaluated as it would be now.
    fn divided(
        &self,
        variants: &[&'r Variant],
        claim: &Claim<'_>,
    ) -> Result<(Vec<&'r Variant>, Vec<&'r Variant>), ExperimentError> {
        if self.entry != Entry::Resume || self.job == Job::Evaluate {
            return Ok((Vec::new(), variants.to_vec()));
        }
        let (mut done, mut open) = (Vec::new(), Vec::new());
        for &variant in variants {
            if claim.is_done(variant, self.job)? { done.push(variant) } else { open.push(variant) }
        }
        Ok((done, open))
    }

    /// Every training that is still to be done, compiled. What training or scoring would refuse is refused here, for all of them, and
    /// what would not fit.
    fn compiled(
        &self,
        variants: &[&'r Variant],
        claim: &Claim<'_>,
        data: &DataSets,
        device: &dyn Device,
        progress: &mut dyn RunProgress,
    ) -> Result<Vec<Compiled<'r>>, ExperimentError> {
        let mut all = Vec::with_capacity(variants.len());
        for &variant in variants {
            let stages = claim.open(variant)?;
            let mut planned = Vec::with_capacity(stages.len());
            for recipe in stages {
                train::check(&recipe)?;
                let own = data.of(&recipe)?;
                let plan = own.plan(&recipe)?;
                own.question_vectors(&recipe)?;
                planned.push((recipe, plan));
            }
            check_metric(&variant.recipe, data.of(&variant.recipe)?)?;
            all.push((variant, planned));
        }
        let mut compiled = Vec::with_capacity(all.len());
        for (variant, planned) in all {
            let stages = planned.into_iter().map(|(recipe, plan)| {
                progress.begin(&title(&variant.name, &recipe), Activity::Compile);
                self.compiled_stage(&variant.name, recipe, plan, data, device)
            });
            compiled.push(Compiled { variant, stages: stages.collect::<Result<_, _>>()? });
        }
        Ok(compiled)
    }

    fn compiled_stage(
        &self,
        variant: &str,
        recipe: Recipe,
        plan: PackingPlan,
        data: &DataSets,
        device: &dyn Device,
    ) -> Result<CompiledStage, ExperimentError> {
        let title = title(variant, &recipe);
        let (shape, vocab) = (batch_shape(&plan), plan.vocab_size);
        let (chunk, target) = (self.resources.chunk, device.target());
        let mut programs = match self.job {
            Job::Evaluate => Programs::to_predict(&recipe, shape, vocab, chunk, target)?,
            Job::All | Job::Train => {
                let trained = batch_shape(&data.of(&recipe)?.training_plan(&recipe)?);
                Programs::to_predict(&recipe, shape, vocab, chunk, target)?
                    .and_to_train(&recipe, trained, vocab, target)?
            }
        };
        let start = Start::new(&recipe, &programs.params)?;
        let own = DataNeed::of(&recipe, data.of(&recipe)?, &plan);
        let held = DataNeed { budget: self.resources.pictures, content: data.bytes(), ..own };
        let Fit { need, mut notes } = fits(&title, &mut programs, held, device, self.resources)?;
        let read = data.of(&recipe)?.notes().iter().cloned();
        notes.extend(read.map(|note| format!("`{variant}`: {note}")));
        let foreign = foreign_words(&recipe).into_iter().chain(foreign_pictures(&recipe)?);
        notes.extend(foreign.map(|note| format!("`{variant}`: {note}")));
        notes.dedup();
        tracing::info!(variant = %title, bytes = need.total(), "compiled");
        let spills = programs.encodes_before && held.held(&programs).1;
        Ok(CompiledStage { recipe, plan, programs, start, need, notes, spills })
    }

    /// The outcome of every variant; `None` where one was stopped. After training alone there is none to list.
    fn run_variants(
        &self,
        compiled: Vec<Compiled<'_>>,
        device: &Arc<dyn Device>,
        dir: &RunDir,
        data: &DataSets,
        record: &mut RunRecord,
        progress: &mut dyn RunProgress,
        stop: &AtomicBool,
    ) -> Result<Option<Vec<VariantOutcome>>, ExperimentError> {
        let mut outcomes = Vec::with_capacity(compiled.len());
        // Variants that encode alike encode every picture once.
        let mut held = States::new(0, None);
        for compiled in compiled {
            let variant = compiled.variant;
            let ended = self.run_variant(compiled, device, dir, data, &mut held, record, progress, stop);
            if let Err(error) = &ended {
                let entry = record.variants.entry(variant.name.clone()).or_default();
                entry.status = RunStatus::Failed { error: error.to_string() };
            }
            match ended? {
                Ended::Stopped => return Ok(None),
                Ended::Trained => {}
                Ended::Evaluated(outcome) => outcomes.push(*outcome),
            }
            dir.write_record(record)?;
        }
        Ok(Some(outcomes))
    }

    fn run_variant(
        &self,
        compiled: Compiled<'_>,
        device: &Arc<dyn Device>,
        dir: &RunDir,
        data: &DataSets,
        pictures: &mut States,
        record: &mut RunRecord,
        progress: &mut dyn RunProgress,
        stop: &AtomicBool,
    ) -> Result<Ended, ExperimentError> {
        let Compiled { variant, stages } = compiled;
        // The stages follow one another, so that the largest is what the run holds at most.
        let most = stages.iter().map(|stage| stage.need.clone()).max_by_key(Need::total).unwrap_or_default();
        let mut stages = stages.into_iter().peekable();
        while let Some(stage) = stages.next() {
            let own = data.of(&stage.recipe)?;
            // What is thrown away is not looked for elsewhere; variants of one run share a stage all the same.
            let out = (self.entry != Entry::Replace).then_some(self.out.as_path());
            let mut resumes = self.entry == Entry::Resume;
            if self.job != Job::Evaluate {
                let training = TrainingStage::of(&dir.variant(&variant.name)?, stage.recipe.clone());
                if take_over(&training, &variant.name, data, dir, out, record, progress)? {
                    if stages.peek().is_some() {
                        continue;
                    }
                    // No step of it is left to be done, and it is evaluated.
                    resumes = true;
                }
            }
            let earlier = std::mem::replace(pictures, States::new(0, None));
            let held = self.states(earlier, &variant.name, &stage, progress);
            let mut ready = VariantRun::new(variant, stage, &most, held, self.job, device, dir, record)?;
            if self.job != Job::Evaluate {
                let finished = ready.train(own, resumes, record, progress, stop)?;
                dir.write_record(record)?;
                if !finished {
                    return Ok(Ended::Stopped);
                }
            }
            if stages.peek().is_none() && self.job != Job::Train {
                let outcome = ready.evaluate(own, record, progress, stop)?;
                *pictures = ready.let_go();
                return Ok(outcome.map_or(Ended::Stopped, |outcome| Ended::Evaluated(Box::new(outcome))));
            }
            // The model of a stage is let go before that of the next is made.
            *pictures = ready.let_go();
        }
        Ok(Ended::Trained)
    }
}

impl Experiment<'_> {
    /// Where a variant holds its encoded pictures, with those of the variant before it: in memory as many as its need counts, and on disk
    /// what training reads and memory does not hold.
    fn states(
        &self,
        earlier: States,
        variant: &str,
        compiled: &CompiledStage,
        progress: &mut dyn RunProgress,
    ) -> States {
        let Resources { pictures, backend, .. } = self.resources;
        let memory = compiled.need.of("features");
        if !compiled.spills || pictures.disk() == 0 {
            return earlier.handed_on(memory, None);
        }
        let folder = self.recipe.path.parent().unwrap_or(Path::new("."));
        let disk = cache(&compiled.recipe, folder).and_then(|cache| {
            // Numbers of another version, device or instruction set may differ in their last bits.
            let (version, device) = (env!("CARGO_PKG_VERSION"), backend.device()?.name());
            let kind = format!("{version}-{device}-{}", backend.instruction_set()?);
            let folder = cache.root().join("pictures").join(kind);
            Disk::open(&folder, pictures.disk())
                .map_err(|error| ExperimentError::File { path: folder, message: error.to_string() })
        });
        match disk {
            Ok(disk) => earlier.handed_on(memory, Some(disk)),
            Err(error) => {
                progress.note(&format!(
                    "`{variant}`: encoded pictures that memory does not hold are not kept on disk: {error}"
                ));
                earlier.handed_on(memory, None)
            }
        }
    }
}

/// How one variant ended.
enum Ended {
    Stopped,
    Trained,
    Evaluated(Box<VariantOutcome>),
}

/// Unpacking is told once, not file by file.
fn worth_a_line(event: &AssetEvent) -> bool {
    match event {
        AssetEvent::Unpacking { done, .. } => *done == 0,
        AssetEvent::Downloading { done, .. } => *done == 0,
        _ => true,
    }
}
