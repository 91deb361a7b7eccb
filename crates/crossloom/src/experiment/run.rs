//! The main job: every variant of a recipe trained, evaluated, compared and reported.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use crossloom_data::assets::AssetEvent;
use crossloom_data::packing::PackingPlan;
use crossloom_eval::compare::Comparison;
use crossloom_eval::stats::Resampling;
use crossloom_recipe::{LoadedRecipe, Variant};
use crossloom_train::progress::Progress;
use crossloom_train::run_dir::{RunDir, RunRecord, RunStatus};
use crossloom_train::trainer::seconds_since_1970;

use super::data::same_questions;
use super::folder::Reserved;
use super::variant::Ready;
use super::{ExperimentData, ExperimentError, VariantOutcome, comparison, record, report, train};

/// How much of the road is walked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Job {
    /// Train, evaluate, compare, report.
    #[default]
    All,
    /// Train only.
    Train,
    /// Evaluate the newest checkpoints of a run that is there, compare, report.
    Evaluate,
}

/// What to run.
#[derive(Clone, Debug)]
pub struct RunRequest<'r> {
    /// The recipe with its variants.
    pub recipe: &'r LoadedRecipe,
    /// How much of it.
    pub job: Job,
    /// Variants to run; empty means all.
    pub variants: Vec<String>,
    /// The folder of all runs.
    pub out: PathBuf,
    /// Continue a run that is there already.
    pub resume: bool,
    /// Throw away what is there already of the variants to run.
    pub force: bool,
    /// The command as it was typed, for the report.
    pub command: String,
}

/// What a variant is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Building and compiling graphs.
    Compile,
    /// Training steps.
    Train,
    /// Answering the evaluation split.
    Evaluate,
}

/// Hears how a run goes.
pub trait Reporter: Progress + Send {
    /// A variant begins a stage.
    fn begin(&mut self, _variant: &str, _stage: Stage) {}
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

/// Runs a recipe. Whatever can be refused is refused, and the data is read, before anything is written.
///
/// # Errors
/// Anything that keeps a variant from being trained, evaluated or written down. The run record then says `failed` and
/// what was finished stays.
pub fn run(
    request: &RunRequest<'_>,
    reporter: &mut dyn Reporter,
    stop: &AtomicBool,
) -> Result<RunOutcome, ExperimentError> {
    let started = Instant::now();
    let loaded = request.recipe;
    let variants = chosen(loaded, &request.variants)?;
    let Some(first) = variants.first() else {
        return Err(ExperimentError::request("the recipe has no variant", "add a [variants.NAME] table"));
    };
    same_questions(&loaded.variants)?;
    let reserved = Reserved::new(request, &variants)?;
    let folder = loaded.path.parent().unwrap_or(Path::new("."));
    let data = ExperimentData::load_until(&first.recipe, folder, stop, &mut |event| {
        if worth_a_line(&event) {
            reporter.note(&event.to_string());
        }
    })?;
    let read = started.elapsed().as_secs_f64();
    let planned = planned(&variants, &data)?;
    let mut entered = reserved.enter(request, &variants, &record::data_manifest(&data))?;
    let earlier_record = entered.record.take();
    let before = earlier_record.as_ref().map(|record| record.status.clone());
    let dir = &entered.dir;
    let mut record = record::begin(request, dir, earlier_record, &variants, &data)?;
    *record.seconds.entry("data".to_owned()).or_insert(0.0) += read;
    let earlier = record.seconds.get("total").copied().unwrap_or_default();
    let tick = |record: &mut RunRecord| {
        record.seconds.insert("total".to_owned(), earlier + started.elapsed().as_secs_f64());
        record.updated = seconds_since_1970();
    };

    let worked = run_variants(request, planned, dir, &data, &mut record, reporter, stop);
    let place = |name: &String| loaded.variants.iter().position(|variant| variant.name == *name);
    record.variants.sort_by(|a, _, b, _| place(a).cmp(&place(b)));
    tick(&mut record);
    let outcome = worked.and_then(|outcomes| match outcomes {
        None => Ok(RunOutcome::Interrupted { dir: dir.path().to_owned() }),
        Some(_) if request.job == Job::Train => Ok(RunOutcome::Trained { dir: dir.path().to_owned() }),
        Some(outcomes) => {
            let variants = comparison::with_earlier(request, dir, &record, outcomes, reporter)?;
            let comparison = comparison::write(request, dir, &data, &variants)?;
            for variant in &variants {
                if let Some(note) = &variant.gate_note {
                    reporter.note(&format!("`{}`: {note}", variant.name));
                }
            }
            let report = report::write(request, dir, &record, &data, &variants, comparison.as_ref())?;
            let dir = dir.clone();
            Ok(RunOutcome::Finished(Box::new(Finished { dir, variants, comparison, report })))
        }
    });
    tick(&mut record);
    record.status = match &outcome {
        Ok(RunOutcome::Finished(finished)) if finished.variants.iter().all(VariantOutcome::is_trained) => {
            RunStatus::Finished
        }
        Ok(RunOutcome::Finished(_)) => RunStatus::Interrupted,
        Ok(RunOutcome::Trained { .. }) => RunStatus::Trained,
        Ok(RunOutcome::Interrupted { .. }) => match before {
            // An evaluation that is stopped takes nothing from a run.
            Some(before) if request.job == Job::Evaluate && before != RunStatus::Running => before,
            _ => RunStatus::Interrupted,
        },
        Err(error) => RunStatus::Failed { error: error.to_string() },
    };
    let written = dir.write_record(&record);
    // Where both fail, as on a full disk, the first failure is the one to tell.
    let outcome = outcome?;
    written?;
    Ok(outcome)
}

pub(super) fn resampling(eval: &crossloom_recipe::Eval) -> Resampling {
    Resampling { resamples: eval.bootstrap_samples, confidence: eval.confidence, seed: eval.seed }
}

fn chosen<'r>(loaded: &'r LoadedRecipe, names: &[String]) -> Result<Vec<&'r Variant>, ExperimentError> {
    let known: Vec<&str> = loaded.variants.iter().map(|v| v.name.as_str()).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(ExperimentError::request(
            format!("the recipe has no variant `{unknown}`"),
            format!("it has {}", known.join(", ")),
        ));
    }
    Ok(loaded.variants.iter().filter(|v| names.is_empty() || names.contains(&v.name)).collect())
}

/// The shapes of every variant's batches. Whatever training would refuse is refused here, for all of them.
fn planned<'r>(
    variants: &[&'r Variant],
    data: &ExperimentData,
) -> Result<Vec<(&'r Variant, PackingPlan)>, ExperimentError> {
    let plan = |variant: &&'r Variant| {
        train::check(&variant.recipe)?;
        Ok((*variant, data.plan(&variant.recipe)?))
    };
    variants.iter().map(plan).collect()
}

/// The outcome of every variant; `None` where one was stopped. After training alone there is none to list.
fn run_variants(
    request: &RunRequest<'_>,
    planned: Vec<(&Variant, PackingPlan)>,
    dir: &RunDir,
    data: &ExperimentData,
    record: &mut RunRecord,
    reporter: &mut dyn Reporter,
    stop: &AtomicBool,
) -> Result<Option<Vec<VariantOutcome>>, ExperimentError> {
    let mut outcomes = Vec::with_capacity(planned.len());
    for (variant, plan) in planned {
        let ended = run_variant(request, variant, plan, dir, data, record, reporter, stop);
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

/// How one variant ended.
enum Ended {
    Stopped,
    Trained,
    Evaluated(Box<VariantOutcome>),
}

fn run_variant(
    request: &RunRequest<'_>,
    variant: &Variant,
    plan: PackingPlan,
    dir: &RunDir,
    data: &ExperimentData,
    record: &mut RunRecord,
    reporter: &mut dyn Reporter,
    stop: &AtomicBool,
) -> Result<Ended, ExperimentError> {
    let mut ready = Ready::compile(variant, plan, dir, record, reporter)?;
    if request.job == Job::Evaluate {
        ready.restore()?;
    } else {
        let finished = ready.train(data, request.resume, record, reporter, stop)?;
        dir.write_record(record)?;
        if !finished {
            return Ok(Ended::Stopped);
        }
    }
    if request.job == Job::Train {
        return Ok(Ended::Trained);
    }
    let outcome = ready.evaluate(data, record, reporter, stop)?;
    Ok(outcome.map_or(Ended::Stopped, |outcome| Ended::Evaluated(Box::new(outcome))))
}

/// Unpacking is told once, not file by file.
fn worth_a_line(event: &AssetEvent) -> bool {
    match event {
        AssetEvent::Unpacking { done, .. } => *done == 0,
        AssetEvent::Downloading { done, .. } => *done == 0,
        _ => true,
    }
}
