//! One variant: trained or restored, then evaluated.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crossloom_data::packing::PackingPlan;
use crossloom_eval::Results;
use crossloom_eval::samples::write_samples;
use crossloom_recipe::{Recipe, Variant};
use crossloom_runtime::Device;
use crossloom_runtime::limits::Need;
use crossloom_train::progress::{Phase, ProgressUpdate};
use crossloom_train::run_dir::{PictureRecord, RunDir, RunRecord, RunStatus, VariantDir, VariantRecord};
use crossloom_train::trainer::Outcome;

use crate::evaluate::{evaluate, resampling};
use crate::gates::saturation;
use crate::interface::Interface;
use crate::job::Job;
use crate::model::Model;
use crate::outcome::{self, VariantOutcome};
use crate::programs::Programs;
use crate::progress::{Activity, RunProgress};
use crate::record::{data_manifest, describe};
use crate::sampled::{Sample, sampled};
use crate::start::Start;
use crate::states::{Counts, States};
use crate::train::train;
use crate::trained::no_checkpoint;
use crate::training_stage::{TrainingStage, stages, steps_done, title};
use crate::twin::below;
use crate::{Data, ExperimentError};

/// A share of waiting for streamed data that is worth a line.
const WAITS: f64 = 0.02;

/// A variant that is compiled and known to fit; no memory was taken for it.
pub(crate) struct Compiled<'v> {
    pub(crate) variant: &'v Variant,
    /// The trainings that are still to be done, in order; at least one, which evaluation needs.
    pub(crate) stages: Vec<CompiledStage>,
}

/// A training that is compiled.
pub(crate) struct CompiledStage {
    /// The recipe up to this stage.
    pub(crate) recipe: Recipe,
    pub(crate) plan: PackingPlan,
    pub(crate) programs: Programs,
    pub(crate) start: Start,
    /// What it will hold.
    pub(crate) need: Need,
    /// What is to be said of how it was made to fit, or is tried although it does not.
    pub(crate) notes: Vec<String>,
    /// Whether its encoded pictures do not all fit the memory that is kept for them.
    pub(crate) spills: bool,
}

/// One training of a variant, whose model is in memory.
pub(crate) struct VariantRun<'v> {
    variant: &'v Variant,
    stage: TrainingStage,
    model: Model,
    plan: PackingPlan,
    run: RunDir,
    dir: VariantDir,
    /// Steps of all stages that the weights in memory were trained for.
    steps: u64,
}

impl<'v> VariantRun<'v> {
    /// Takes memory for a training: to be done, or, to be evaluated, with the weights of its newest checkpoint. `most` is what the
    /// variant's run holds at most.
    pub(crate) fn new(
        variant: &'v Variant,
        compiled: CompiledStage,
        most: &Need,
        held: States,
        job: Job,
        device: &Arc<dyn Device>,
        run: &RunDir,
        record: &mut RunRecord,
    ) -> Result<Self, ExperimentError> {
        let CompiledStage { recipe, plan, programs, start: weights, .. } = compiled;
        let start = Instant::now();
        let time = programs.time;
        let dir = run.variant(&variant.name)?;
        let stage = TrainingStage::of(&dir, recipe);
        let (mut model, steps) = if job == Job::Evaluate {
            let checkpoints = stage.checkpoints();
            let newest = checkpoints.newest()?.ok_or_else(|| no_checkpoint(dir.path().display()))?;
            (Model::restored(programs, weights, device, &newest)?, stage.before + newest.state().step)
        } else {
            (Model::blank(programs, weights, device)?, stage.before)
        };
        model.phases.encoder.hold_in(held);
        let entry = record.variants.entry(variant.name.clone()).or_default();
        describe(entry, &stage.recipe, &model, most);
        spent(entry, "compile", time + start.elapsed());
        Ok(Self { variant, stage, model, plan, run: run.clone(), dir, steps })
    }

    /// Trains it and writes down how that went. Says whether all its steps are done.
    pub(crate) fn train(
        &mut self,
        data: &Data,
        resume: bool,
        record: &mut RunRecord,
        progress: &mut dyn RunProgress,
        stop: &AtomicBool,
    ) -> Result<bool, ExperimentError> {
        let name = &self.variant.name;
        let TrainingStage { recipe, before, .. } = &self.stage;
        let title = title(name, recipe);
        progress.begin(&title, Activity::Train);
        let start = Instant::now();
        if steps_done(&self.dir, &self.variant.recipe)?
            .is_none_or(|done| done < self.variant.recipe.all_steps())
        {
            self.forget_answers(record)?;
        }
        let dir = self.dir.enter_stage(recipe.stage())?;
        Interface::new(recipe, &self.plan, &data.tokenizer).write(&dir, &data.tokenizer)?;
        let begins = !self.stage.is_finished()?;
        let entry = record.variants.entry(name.clone()).or_default();
        entry.status = RunStatus::Running;
        if begins {
            entry.taken_from = None;
        }
        if let Some(stage) = recipe.stage() {
            let trainable_parameters = entry.trainable_parameters;
            // A process that was killed when a stage was done did not write that down.
            for earlier in stages(&self.dir, recipe) {
                let known = earlier.recipe.stage().and_then(|name| entry.stages.get_mut(name));
                if let (Some(known), Some(done)) = (known, earlier.done()?) {
                    known.steps = done;
                }
            }
            let own = entry.stages.entry(stage.to_owned()).or_default();
            own.hash = recipe.training_hash();
            if begins {
                own.taken_from = None;
            }
            (own.data, own.trainable_parameters) = (data_manifest(data).content, trainable_parameters);
            self.run.write_record(record)?;
        }
        let entry = record.variants.entry(name.clone()).or_default();
        tracing::info!(variant = %title, "training begins");
        let summary = train(recipe, data, &self.plan, &mut self.model, &self.dir, resume, stop, progress);
        spent(entry, "train", start.elapsed());
        entry.pictures = self.pictures();
        let summary = summary?;
        let finished = summary.outcome == Outcome::Finished;
        tracing::info!(variant = %title, steps = summary.completed, finished, "training ended");
        self.steps = before + summary.completed;
        let whole = finished && self.steps >= self.variant.recipe.all_steps();
        entry.status = if whole { RunStatus::Trained } else { RunStatus::Interrupted };
        entry.steps = self.steps;
        // A session without a step learns nothing new about these.
        entry.final_loss = summary.last.as_ref().map(|step| step.loss).or(entry.final_loss);
        entry.step_ms = summary.median_step.map(|seconds| 1e3 * seconds).or(entry.step_ms);
        entry.data_wait = summary.data_wait.or(entry.data_wait);
        if let Some(sample) = Sample::of(recipe, data, &self.plan) {
            entry.sampled = sampled(&self.dir, recipe, sample.ids())?;
        }
        let newest = summary.checkpoint.as_ref().and_then(|path| below(&self.run, path));
        entry.checkpoint = newest.or(entry.checkpoint.take());
        if let Some(stage) = recipe.stage() {
            let checkpoint = entry.checkpoint.clone();
            let own = entry.stages.entry(stage.to_owned()).or_default();
            own.steps = summary.completed;
            own.final_loss = summary.last.as_ref().map(|step| step.loss).or(own.final_loss);
            own.step_ms = summary.median_step.map(|seconds| 1e3 * seconds).or(own.step_ms);
            own.data_wait = summary.data_wait.or(own.data_wait);
            own.seconds += start.elapsed().as_secs_f64();
            own.checkpoint = checkpoint;
        }
        let waited = format!("`{title}` waited for data ");
        if let Some(share) =
            summary.data_wait.filter(|share| *share > WAITS && data.conversations().is_some())
        {
            record.notes.retain(|note| !note.starts_with(&waited));
            let note = format!("{waited}for {:.0} % of the time of its steps", 100.0 * share);
            progress.note(&note);
            record.notes.push(note);
        }
        for note in summary.notes {
            let note = format!("`{title}`: {note}");
            if !record.notes.contains(&note) {
                record.notes.push(note);
            }
        }
        Ok(finished)
    }

    /// The pictures that it held, for the next training.
    pub(crate) fn let_go(mut self) -> States {
        self.model.phases.encoder.let_go()
    }

    /// Where the pictures came from that this process has seen, and what is held of them.
    fn pictures(&self) -> Option<PictureRecord> {
        let Counts { encoded, from_memory, from_disk } = self.model.phases.encoder.counts();
        let (bytes, disk_bytes) = self.model.phases.encoder.held();
        let variant = &self.variant.name;
        tracing::debug!(%variant, encoded, from_memory, from_disk, bytes, disk_bytes, "pictures");
        (encoded + from_memory + from_disk > 0).then_some(PictureRecord {
            encoded,
            from_memory,
            from_disk,
            bytes,
            disk_bytes,
        })
    }

    /// Forgets the answers of an earlier model or of earlier settings: in the record first, so that no answers that are half
    /// replaced are ever taken for whole.
    fn forget_answers(&self, record: &mut RunRecord) -> Result<(), ExperimentError> {
        let entry = record.variants.entry(self.variant.name.clone()).or_default();
        entry.evaluated_as.clear();
        entry.role.clear();
        entry.gates.clear();
        entry.gate_note = None;
        if entry.status == RunStatus::Finished {
            entry.status = RunStatus::Trained;
        }
        self.run.write_record(record)?;
        Ok(self.dir.remove_answers()?)
    }

    /// Answers the evaluation split; `None` when stopped.
    pub(crate) fn evaluate(
        &mut self,
        data: &Data,
        record: &mut RunRecord,
        progress: &mut dyn RunProgress,
        stop: &AtomicBool,
    ) -> Result<Option<VariantOutcome>, ExperimentError> {
        let Variant { name, recipe: whole, .. } = self.variant;
        let recipe = &self.stage.recipe;
        progress.begin(name, Activity::Evaluate);
        let start = Instant::now();
        let mut hear = |done: usize, of: usize| {
            let rate = done as f64 / start.elapsed().as_secs_f64().max(1e-9);
            progress.update(&ProgressUpdate {
                phase: Phase::Evaluate,
                step: done as u64,
                steps: of as u64,
                steps_per_second: Some(rate),
                loss: None,
                eta: Duration::try_from_secs_f64((of - done) as f64 / rate).ok(),
            });
        };
        let Some(evaluation) = evaluate(recipe, data, &self.plan, &mut self.model, stop, &mut hear)? else {
            return Ok(None);
        };
        let results =
            Results::from_records(&evaluation.records, recipe.eval.metric, &resampling(&recipe.eval))
                .map_err(|e| ExperimentError::Score { variant: name.clone(), message: e.to_string() })?;
        self.forget_answers(record)?;
        let samples = self.dir.samples_path();
        write_samples(&samples, &evaluation.records)
            .map_err(|e| ExperimentError::File { path: samples, message: e.to_string() })?;
        let json = serde_json::to_vec_pretty(&results)
            .map_err(|e| ExperimentError::File { path: self.dir.results_path(), message: e.to_string() })?;
        self.dir.write("results.json", &json)?;
        let entry = record.variants.entry(name.clone()).or_default();
        spent(entry, "evaluate", start.elapsed());
        entry.pictures = self.pictures();
        let all = self.steps >= whole.all_steps();
        entry.status = if all { RunStatus::Finished } else { RunStatus::Interrupted };
        entry.steps = self.steps;
        outcome::role_name(outcome::role(recipe)).clone_into(&mut entry.role);
        entry.evaluated_as = outcome::evaluated_as(recipe, self.steps);
        entry.gate_note = saturation(recipe, &evaluation.gates);
        entry.gates = evaluation.gates;
        tracing::info!(variant = %name, questions = evaluation.records.len(), "evaluated");
        Ok(Some(VariantOutcome::new(self.variant, evaluation.records, results, entry, self.dir.clone())))
    }
}

/// Adds to the seconds of a phase, which are those of all processes.
fn spent(entry: &mut VariantRecord, phase: &str, time: Duration) {
    *entry.seconds.entry(phase.to_owned()).or_insert(0.0) += time.as_secs_f64();
}
