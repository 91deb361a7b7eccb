//! The main job: every variant of a recipe trained, evaluated, compared and reported.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crossloom_data::assets::AssetEvent;
use crossloom_eval::Prior;
use crossloom_eval::compare::{CompareOptions, Comparison, Contender, Role, compare};
use crossloom_eval::metrics::Metric;
use crossloom_eval::prior::question_only_prior;
use crossloom_eval::samples::Question;
use crossloom_eval::stats::Resampling;
use crossloom_recipe::{ImageUse, LoadedRecipe, Recipe, Split, Variant};
use crossloom_train::progress::Progress;
use crossloom_train::run_dir::{DataManifest, RunDir, RunRecord, RunStatus};

use super::variant::{Ready, VariantOutcome};
use super::{ExperimentData, ExperimentError, report};

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
pub trait Reporter: Progress + Send {
    /// A variant begins a stage.
    fn begin(&mut self, _variant: &str, _stage: Stage) {}
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
    if request.job == Job::Train {
        return Ok(RunOutcome::Trained { dir: dir.path().to_owned() });
    }
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

fn enter(request: &RunRequest<'_>) -> Result<RunDir, ExperimentError> {
    let loaded = request.recipe;
    let dir = RunDir::create(&request.out, &loaded.base.name, &loaded.content_hash())?;
    let used = dir.path().join("run.json").exists();
    if used && request.force {
        std::fs::remove_dir_all(dir.path())
            .map_err(|e| ExperimentError::File { path: dir.path().to_owned(), message: e.to_string() })?;
        return Ok(RunDir::create(&request.out, &loaded.base.name, &loaded.content_hash())?);
    }
    if request.job == Job::Evaluate && !used {
        return Err(ExperimentError::request(
            format!("{} holds no run of this recipe", dir.path().display()),
            "train it first: crossloom train, or crossloom run",
        ));
    }
    if used && !request.resume && request.job != Job::Evaluate {
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
        Ok(record) if request.resume || request.job == Job::Evaluate => record,
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
        let mut ready = Ready::compile(variant, &data, dir, reporter)?;
        if request.job == Job::Evaluate {
            ready.restore(variant)?;
        } else {
            let finished = ready.train(variant, &data, request.resume, record, reporter, stop)?;
            dir.write_record(record)?;
            if !finished {
                return Ok(None);
            }
        }
        if request.job == Job::Train {
            continue;
        }
        let Some(outcome) = ready.evaluate(variant, &data, record, reporter, stop)? else {
            return Ok(None);
        };
        dir.write_record(record)?;
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
