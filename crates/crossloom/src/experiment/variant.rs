//! One variant: trained or restored, then evaluated.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crossloom_data::packing::PackingPlan;
use crossloom_eval::Results;
use crossloom_eval::metrics::Metric;
use crossloom_eval::samples::{SampleRecord, write_samples};
use crossloom_model::BatchShape;
use crossloom_recipe::{Recipe, Variant};
use crossloom_train::progress::{Phase, ProgressUpdate};
use crossloom_train::run_dir::{RunDir, RunRecord, RunStatus, VariantDir, VariantRecord};
use crossloom_train::step::GateMeans;
use crossloom_train::trainer::{Outcome, Summary};

use super::model::{Compilation, Model};
use super::run::{Reporter, Stage, resampling};
use super::train::{restore_newest, train};
use super::{ExperimentData, ExperimentError, evaluate};

/// A variant that was trained and evaluated.
pub struct VariantOutcome {
    /// Its name.
    pub name: String,
    /// Its recipe.
    pub recipe: Recipe,
    /// One record per question.
    pub records: Vec<SampleRecord>,
    /// Its numbers.
    pub results: Results,
    /// Mean gate of every edge on the evaluation split.
    pub gates: GateMeans,
    /// Number of weights.
    pub parameters: u64,
    /// Mean time of a training step in milliseconds, over this process.
    pub step_ms: Option<f64>,
    /// How it was compiled.
    pub compilation: Compilation,
    /// Seconds by phase.
    pub seconds: Vec<(String, f64)>,
    /// Where its files are.
    pub dir: VariantDir,
}

/// A variant whose model is in memory.
pub(super) struct Ready {
    model: Model,
    plan: PackingPlan,
    dir: VariantDir,
    step_ms: Option<f64>,
    seconds: Vec<(String, f64)>,
    /// How its training ended; `None` where it was restored.
    pub(super) summary: Option<Summary>,
}

impl Ready {
    /// Builds and compiles a variant.
    pub(super) fn compile(
        variant: &Variant,
        data: &ExperimentData,
        dir: &RunDir,
        reporter: &mut dyn Reporter,
    ) -> Result<Self, ExperimentError> {
        reporter.begin(&variant.name, Stage::Compile);
        let start = Instant::now();
        let plan = data.plan(&variant.recipe)?;
        let model = Model::new(&variant.recipe, batch_shape(&plan), plan.vocab_size)?;
        let dir = dir.variant(&variant.name)?;
        let seconds = vec![("compile".to_owned(), start.elapsed().as_secs_f64())];
        Ok(Self { model, plan, dir, step_ms: None, seconds, summary: None })
    }

    /// Trains it and writes down how that went. Says whether all steps are done.
    pub(super) fn train(
        &mut self,
        variant: &Variant,
        data: &ExperimentData,
        resume: bool,
        record: &mut RunRecord,
        reporter: &mut dyn Reporter,
        stop: &AtomicBool,
    ) -> Result<bool, ExperimentError> {
        reporter.begin(&variant.name, Stage::Train);
        let start = Instant::now();
        let recipe = &variant.recipe;
        let summary = train(recipe, data, &self.plan, &mut self.model, &self.dir, resume, stop, reporter)?;
        self.seconds.push(("train".to_owned(), start.elapsed().as_secs_f64()));
        let finished = summary.outcome == Outcome::Finished;
        let compute = summary.timings.to_map().get("compute").copied();
        self.step_ms = compute.filter(|_| summary.last.is_some()).map(|s| 1e3 * s / summary.completed as f64);
        let entry = VariantRecord {
            status: if finished { RunStatus::Running } else { RunStatus::Interrupted },
            steps: summary.completed,
            parameters: self.model.parameters(),
            trainable_parameters: trained(recipe, &self.model),
            final_loss: summary.last.as_ref().map(|step| step.loss),
            checkpoint: summary.checkpoint.as_ref().map(|path| path.display().to_string()),
            kernel_choices: kernel_choices(&self.model),
            bytes: memory(&self.model),
            ..VariantRecord::default()
        };
        record.variants.insert(variant.name.clone(), entry);
        data.tokenizer.save(&self.dir.path().join("tokenizer.json"))?;
        self.summary = Some(summary);
        Ok(finished)
    }

    /// Puts the weights of the newest checkpoint into it.
    pub(super) fn restore(&mut self, variant: &Variant) -> Result<(), ExperimentError> {
        restore_newest(&mut self.model, &variant.recipe, &self.dir)
    }

    /// Answers the evaluation split; `None` when stopped.
    pub(super) fn evaluate(
        mut self,
        variant: &Variant,
        data: &ExperimentData,
        record: &mut RunRecord,
        reporter: &mut dyn Reporter,
        stop: &AtomicBool,
    ) -> Result<Option<VariantOutcome>, ExperimentError> {
        reporter.begin(&variant.name, Stage::Evaluate);
        let start = Instant::now();
        let recipe = &variant.recipe;
        let mut hear = |done: usize, of: usize| {
            let rate = done as f64 / start.elapsed().as_secs_f64().max(1e-9);
            reporter.update(&ProgressUpdate {
                phase: Phase::Evaluate,
                step: done as u64,
                steps: of as u64,
                steps_per_second: Some(rate),
                loss: None,
                eta: Some(Duration::from_secs_f64((of - done) as f64 / rate)),
            });
        };
        let Some(evaluation) = evaluate(recipe, data, &self.plan, &mut self.model, stop, &mut hear)? else {
            return Ok(None);
        };
        self.seconds.push(("evaluate".to_owned(), start.elapsed().as_secs_f64()));
        let score = |message: String| ExperimentError::Score { variant: variant.name.clone(), message };
        let results =
            Results::from_records(&evaluation.records, Metric::ExactMatch, &resampling(&recipe.eval))
                .map_err(|e| score(e.to_string()))?;
        let file = |path: PathBuf, message: String| ExperimentError::File { path, message };
        write_samples(&self.dir.samples_path(), &evaluation.records)
            .map_err(|e| file(self.dir.samples_path(), e.to_string()))?;
        let json =
            serde_json::to_vec_pretty(&results).map_err(|e| file(self.dir.results_path(), e.to_string()))?;
        self.dir.write("results.json", &json)?;
        let entry = record.variants.entry(variant.name.clone()).or_default();
        entry.status = RunStatus::Finished;
        for (phase, seconds) in &self.seconds {
            *entry.seconds.entry(phase.clone()).or_insert(0.0) += seconds;
        }
        Ok(Some(VariantOutcome {
            name: variant.name.clone(),
            recipe: recipe.clone(),
            records: evaluation.records,
            results,
            gates: evaluation.gates,
            parameters: self.model.parameters(),
            step_ms: self.step_ms,
            compilation: self.model.compilation.clone(),
            seconds: self.seconds,
            dir: self.dir,
        }))
    }
}

pub(super) fn batch_shape(plan: &PackingPlan) -> BatchShape {
    BatchShape { batch: plan.batch_size, tokens: plan.sequence_len, targets: plan.targets }
}

fn trained(recipe: &Recipe, model: &Model) -> u64 {
    let elements = |p: &crossloom_model::ParamSpec| p.shape.iter().product::<usize>() as u64;
    model.params.iter().filter(|p| recipe.train.parts.get(p.part).trainable).map(elements).sum()
}

/// How often every kernel is called in a training step.
fn kernel_choices(model: &Model) -> std::collections::BTreeMap<String, String> {
    let mut counts = std::collections::BTreeMap::new();
    for step in &model.step.plan().steps {
        *counts.entry(step.kernel.clone()).or_insert(0usize) += 1;
    }
    counts.into_iter().map(|(kernel, count)| (kernel, count.to_string())).collect()
}

fn memory(model: &Model) -> indexmap::IndexMap<String, u64> {
    let e = crossloom_compiler::explain::explain(model.step.plan(), 1);
    [
        ("weights", e.weight_bytes),
        ("state", e.state_bytes),
        ("inputs", e.input_bytes),
        ("arena", e.arena_bytes),
        ("scratch", e.scratch_bytes),
    ]
    .into_iter()
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .collect()
}
