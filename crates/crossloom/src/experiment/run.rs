//! The main job: every variant of a recipe trained, evaluated, compared and reported.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crossloom_data::assets::AssetEvent;
use crossloom_data::packing::PackingPlan;
use crossloom_eval::compare::{CompareOptions, Comparison, Contender, Role, compare};
use crossloom_eval::metrics::Metric;
use crossloom_eval::prior::question_only_prior;
use crossloom_eval::samples::{Question, SampleRecord, write_samples};
use crossloom_eval::stats::Resampling;
use crossloom_eval::{Prior, Results};
use crossloom_model::BatchShape;
use crossloom_recipe::{ImageUse, LoadedRecipe, Recipe, Split, Variant};
use crossloom_train::progress::{Phase, Progress, ProgressUpdate};
use crossloom_train::run_dir::{DataManifest, RunDir, RunRecord, RunStatus, VariantDir, VariantRecord};
use crossloom_train::step::GateMeans;
use crossloom_train::trainer::Outcome;

use super::model::{Compilation, Model};
use super::train::train;
use super::{ExperimentData, ExperimentError, evaluate, report};

/// What to run.
#[derive(Clone, Debug)]
pub struct RunRequest<'r> {
    /// The recipe with its variants.
    pub recipe: &'r LoadedRecipe,
    /// Variants to run; empty means all.
    pub variants: Vec<String>,
    /// The folder of all runs.
    pub out: PathBuf,
    /// Continue a run that is there already.
    pub resume: bool,
    /// Throw away a run that is there already.
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
pub trait Reporter: Progress {
    /// A variant begins a stage.
    fn begin(&mut self, _variant: &str, _stage: Stage) {}
}

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
    /// Median time of a training step in milliseconds, over this process.
    pub step_ms: Option<f64>,
    /// How it was compiled.
    pub compilation: Compilation,
    /// Seconds by phase.
    pub seconds: Vec<(String, f64)>,
    /// Where its files are.
    pub dir: VariantDir,
}

/// A finished run.
pub struct Finished {
    /// Its folder.
    pub dir: RunDir,
    /// All variants, in the recipe's order.
    pub variants: Vec<VariantOutcome>,
    /// Their comparison.
    pub comparison: Comparison,
    /// The report.
    pub report: PathBuf,
}

/// How a run ended.
pub enum RunOutcome {
    /// All variants are done.
    Finished(Box<Finished>),
    /// Stopped on request; the newest checkpoint holds all completed steps.
    Interrupted {
        /// The run's folder.
        dir: PathBuf,
    },
}

/// Runs a recipe.
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
    let dir = enter(request)?;
    let _lock = dir.lock()?;
    let mut record = begin_record(request, &dir)?;
    let outcome = run_variants(request, &variants, &dir, &mut record, reporter, stop);
    record.seconds.insert("total".to_owned(), started.elapsed().as_secs_f64());
    record.updated = now();
    record.status = match &outcome {
        Ok(Some(_)) => RunStatus::Finished,
        Ok(None) => RunStatus::Interrupted,
        Err(error) => RunStatus::Failed { error: error.to_string() },
    };
    dir.write_record(&record)?;
    let Some((data, outcomes, priors)) = outcome? else {
        return Ok(RunOutcome::Interrupted { dir: dir.path().to_owned() });
    };
    let baseline = variants.iter().find(|v| v.baseline).map(|v| v.name.clone());
    let contenders: Vec<Contender<'_>> = outcomes
        .iter()
        .map(|v| Contender { name: &v.name, role: role(&v.recipe), records: &v.records })
        .collect();
    let eval = &loaded.base.eval;
    let options = CompareOptions {
        metric: Metric::ExactMatch,
        baseline,
        resampling: resampling(eval),
        priors: vec![("most frequent answer".to_owned(), priors)],
    };
    let comparison = compare(&contenders, &options)?;
    let text = comparison.to_text();
    dir.write("comparison.txt", text.as_bytes())?;
    let json =
        serde_json::to_vec_pretty(&comparison).map_err(|e| Box::new(e) as crossloom_train::BoxError)?;
    dir.write("comparison.json", &json)?;
    let report = report::write(request, &dir, &record, &data, &outcomes, &comparison)?;
    Ok(RunOutcome::Finished(Box::new(Finished { dir, variants: outcomes, comparison, report })))
}

/// The question-only models are yardsticks, not contenders.
fn role(recipe: &Recipe) -> Role {
    match recipe.data.image {
        ImageUse::Given => Role::Model,
        ImageUse::Withheld => Role::Reference,
    }
}

fn resampling(eval: &crossloom_recipe::Eval) -> Resampling {
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

fn enter(request: &RunRequest<'_>) -> Result<RunDir, ExperimentError> {
    let loaded = request.recipe;
    let dir = RunDir::create(&request.out, &loaded.base.name, &loaded.content_hash())?;
    let used = dir.path().join("run.json").exists();
    if used && request.force {
        std::fs::remove_dir_all(dir.path())
            .map_err(|e| ExperimentError::File { path: dir.path().to_owned(), message: e.to_string() })?;
        return Ok(RunDir::create(&request.out, &loaded.base.name, &loaded.content_hash())?);
    }
    if used && !request.resume {
        return Err(ExperimentError::request(
            format!("{} holds a run of this very recipe", dir.path().display()),
            "continue it with --resume, replace it with --force, or write elsewhere with --out",
        ));
    }
    Ok(dir)
}

fn begin_record(request: &RunRequest<'_>, dir: &RunDir) -> Result<RunRecord, ExperimentError> {
    let loaded = request.recipe;
    let mut record = match dir.read_record() {
        Ok(record) if request.resume => record,
        _ => RunRecord::new(&loaded.base.name, &loaded.content_hash()),
    };
    if record.started == 0.0 {
        record.started = now();
    }
    record.updated = now();
    record.status = RunStatus::Running;
    record.recipe_path = loaded.path.display().to_string();
    record.versions.insert("crossloom".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    record.device = device();
    record.threads = rayon::current_num_threads() as u64;
    record.seeds.insert("train".to_owned(), loaded.base.train.seed);
    record.seeds.insert("data".to_owned(), loaded.base.data.seed);
    record.seeds.insert("eval".to_owned(), loaded.base.eval.seed);
    let resolved: String = (loaded.variants.iter())
        .map(|v| format!("# variant {}\n{}\n", v.name, v.resolved_toml_with_provenance()))
        .collect();
    dir.write("recipe.resolved.toml", resolved.as_bytes())?;
    dir.write_record(&record)?;
    Ok(record)
}

/// The processor's name.
fn device() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.to_owned())
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

type AllVariants = (ExperimentData, Vec<VariantOutcome>, Prior);

fn run_variants(
    request: &RunRequest<'_>,
    variants: &[&Variant],
    dir: &RunDir,
    record: &mut RunRecord,
    reporter: &mut dyn Reporter,
    stop: &AtomicBool,
) -> Result<Option<AllVariants>, ExperimentError> {
    let Some(first) = variants.first() else {
        return Err(ExperimentError::request("the recipe has no variant", "add a [variants.NAME] table"));
    };
    let folder = request.recipe.path.parent().unwrap_or(Path::new("."));
    let start = Instant::now();
    let data = ExperimentData::load(&first.recipe, folder, &mut |event| {
        if worth_a_line(&event) {
            reporter.note(&event.to_string());
        }
    })?;
    record.seconds.insert("data".to_owned(), start.elapsed().as_secs_f64());
    record.data = vec![data_manifest(&data)];
    let mut outcomes = Vec::with_capacity(variants.len());
    for variant in variants {
        if !same_data(&first.recipe, &variant.recipe) {
            return Err(ExperimentError::request(
                format!("variant `{}` uses other data than `{}`", variant.name, first.name),
                "variants are compared on the same questions: give them one [data] source, seed and limits",
            ));
        }
        let Some(outcome) = run_variant(request, variant, &data, dir, record, reporter, stop)? else {
            return Ok(None);
        };
        outcomes.push(outcome);
    }
    let prior = prior(&data, &outcomes);
    Ok(Some((data, outcomes, prior)))
}

/// Unpacking is told once, not file by file.
fn worth_a_line(event: &AssetEvent) -> bool {
    match event {
        AssetEvent::Unpacking { done, .. } => *done == 0,
        AssetEvent::Downloading { done, .. } => *done == 0,
        _ => true,
    }
}

/// Variants may differ in whether the picture is shown, not in what is asked.
fn same_data(a: &Recipe, b: &Recipe) -> bool {
    a.data.source == b.data.source
        && a.data.seed == b.data.seed
        && a.data.train_limit == b.data.train_limit
        && a.data.test_limit == b.data.test_limit
        && a.model.vision.image_size == b.model.vision.image_size
        && a.eval.split == b.eval.split
        && a.eval.limit == b.eval.limit
}

fn data_manifest(data: &ExperimentData) -> DataManifest {
    let manifest = data.manifest();
    let splits = [("train", Split::Train), ("test", Split::Test)];
    DataManifest {
        name: data.name().to_owned(),
        sha256: blake3::hash(&serde_json::to_vec(&manifest).unwrap_or_default()).to_hex().to_string(),
        splits: splits
            .into_iter()
            .map(|(name, split)| (name.to_owned(), data.images(split).0.examples().len() as u64))
            .collect(),
        ..DataManifest::default()
    }
}

/// The best that can be done from the question's text: the analytic companion of a question-only model.
fn prior(data: &ExperimentData, outcomes: &[VariantOutcome]) -> Prior {
    let train = data.images(Split::Train).0.examples();
    let asked: Vec<Question> = outcomes
        .first()
        .into_iter()
        .flat_map(|outcome| &outcome.records)
        .map(|r| Question {
            id: r.id.clone(),
            image: r.image.clone(),
            text: r.question.clone(),
            kind: r.kind.clone(),
            truth: r.truth.clone(),
        })
        .collect();
    question_only_prior(
        train.iter().map(|e| (e.question.as_str(), e.answer.as_str())),
        &asked,
        Metric::ExactMatch,
    )
}

fn run_variant(
    request: &RunRequest<'_>,
    variant: &Variant,
    data: &ExperimentData,
    dir: &RunDir,
    record: &mut RunRecord,
    reporter: &mut dyn Reporter,
    stop: &AtomicBool,
) -> Result<Option<VariantOutcome>, ExperimentError> {
    let recipe = &variant.recipe;
    let own = dir.variant(&variant.name)?;
    let mut seconds = Vec::new();
    let mut timed =
        |name: &str, start: Instant| seconds.push((name.to_owned(), start.elapsed().as_secs_f64()));

    reporter.begin(&variant.name, Stage::Compile);
    let start = Instant::now();
    let plan = data.plan(recipe)?;
    let mut model = Model::new(recipe, batch_shape(&plan), plan.vocab_size)?;
    timed("compile", start);

    reporter.begin(&variant.name, Stage::Train);
    let start = Instant::now();
    let summary = train(recipe, data, &plan, &mut model, &own, request.resume, stop, reporter)?;
    timed("train", start);
    let entry = VariantRecord {
        status: if summary.outcome == Outcome::Finished {
            RunStatus::Running
        } else {
            RunStatus::Interrupted
        },
        steps: summary.completed,
        parameters: model.parameters(),
        trainable_parameters: trained(recipe, &model),
        final_loss: summary.last.as_ref().map(|step| step.loss),
        checkpoint: summary.checkpoint.as_ref().map(|path| path.display().to_string()),
        kernel_choices: kernel_choices(&model),
        bytes: memory(&model),
        ..VariantRecord::default()
    };
    record.variants.insert(variant.name.clone(), entry);
    dir.write_record(record)?;
    if summary.outcome == Outcome::Interrupted {
        return Ok(None);
    }
    let step_ms = (summary.completed > 0 && summary.last.is_some())
        .then(|| summary.timings.to_map().get("compute").copied())
        .flatten()
        .map(|compute| 1e3 * compute / summary.completed as f64);

    reporter.begin(&variant.name, Stage::Evaluate);
    let start = Instant::now();
    let evaluation = evaluate(recipe, data, &plan, &mut model, stop, &mut |done, of| {
        let rate = done as f64 / start.elapsed().as_secs_f64().max(1e-9);
        reporter.update(&ProgressUpdate {
            phase: Phase::Evaluate,
            step: done as u64,
            steps: of as u64,
            steps_per_second: Some(rate),
            loss: None,
            eta: Some(std::time::Duration::from_secs_f64((of - done) as f64 / rate)),
        });
    })?;
    let Some(evaluation) = evaluation else { return Ok(None) };
    timed("evaluate", start);
    let results =
        Results::from_records(&evaluation.records, Metric::ExactMatch, &resampling(&recipe.eval))
            .map_err(|e| ExperimentError::Score { variant: variant.name.clone(), message: e.to_string() })?;
    write_samples(&own.samples_path(), &evaluation.records)
        .map_err(|e| ExperimentError::File { path: own.samples_path(), message: e.to_string() })?;
    let json = serde_json::to_vec_pretty(&results).map_err(|e| Box::new(e) as crossloom_train::BoxError)?;
    own.write("results.json", &json)?;
    data.tokenizer.save(&own.path().join("tokenizer.json"))?;
    if let Some(entry) = record.variants.get_mut(&variant.name) {
        entry.status = RunStatus::Finished;
        entry.seconds.extend(seconds.iter().cloned());
    }
    dir.write_record(record)?;
    Ok(Some(VariantOutcome {
        name: variant.name.clone(),
        recipe: recipe.clone(),
        records: evaluation.records,
        results,
        gates: evaluation.gates,
        parameters: model.parameters(),
        step_ms,
        compilation: model.compilation.clone(),
        seconds,
        dir: own,
    }))
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
