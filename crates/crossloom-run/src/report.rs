//! Mapping a run onto the report.

mod accuracy;
mod topology;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crossloom_eval::Comparison;
use crossloom_recipe::LoadedRecipe;
use crossloom_report as report;
use crossloom_train::metrics::{MetricPhase, MetricRecord, read_metrics};
use crossloom_train::run_dir::{GateRecord, RunDir, RunRecord};
use indexmap::IndexMap;

use self::accuracy::accuracy;
use self::topology::topology;
use crate::cells::{Cell, Repeated, repeated};
use crate::date::utc;
use crate::held_out::HELD_OUT_LOSS;
use crate::sampled::SAMPLE_SCORE;
use crate::training_stage::stages;
use crate::{Data, ExperimentError, VariantOutcome, resolved};

/// Pictures shown in the report.
const SAMPLES: usize = 24;

/// Writes `report.html` and returns its path.
pub(crate) fn write(
    loaded: &LoadedRecipe,
    command: &str,
    dir: &RunDir,
    record: &RunRecord,
    data: &Data,
    variants: &[VariantOutcome],
    comparison: Option<&Comparison>,
) -> Result<PathBuf, ExperimentError> {
    let columns = Column::of(&variants.iter().collect::<Vec<_>>(), &|group| group.name.clone());
    let page = report::ReportData {
        name: record.name.clone(),
        verdict: match comparison {
            Some(comparison) => comparison.verdict.first().cloned(),
            None => Some("Only references were evaluated: there is no model to compare.".to_owned()),
        },
        key_figures: Vec::new(),
        provenance: report::Provenance {
            date: utc(record.updated),
            recipe_hash: record.recipe_hash.clone(),
            device: format!("{}, {} threads", record.device, record.threads),
            total_seconds: record.seconds.get("total").copied(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        accuracy: accuracy(&columns, comparison),
        variants: columns.iter().map(|column| variant(column, Some(record))).collect::<Result<_, _>>()?,
        samples: samples(data, &columns),
        reproduction: reproduction(loaded, command, record, data, variants)?,
    };
    dir.write("report.html", report::render(&page).as_bytes())?;
    let path = dir.report_path();
    tracing::info!(path = %path.display(), "report written");
    Ok(path)
}

/// What compares trainings of several runs.
#[derive(Debug)]
pub struct Across {
    /// A page: scores, costs, topologies and gates side by side, curves.
    pub page: String,
    /// Scores over costs with the Pareto front, as SVG; none where costs are not known.
    pub score_over_cost: Option<String>,
}

/// Compares trainings of several runs in pictures. `about` says of what it is, `command` how it was made. Pictures of the data are in the
/// reports of the runs.
///
/// # Errors
/// Metrics of a run that cannot be read; a recipe whose wiring does not fit.
pub fn across_runs(
    about: &str,
    command: &str,
    columns: &[Column<'_>],
    comparison: &Comparison,
) -> Result<Across, ExperimentError> {
    let data = report::ReportData {
        name: about.to_owned(),
        verdict: comparison.verdict.first().cloned(),
        provenance: report::Provenance {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..report::Provenance::default()
        },
        accuracy: accuracy(columns, Some(comparison)),
        variants: columns.iter().map(|column| variant(column, None)).collect::<Result<_, _>>()?,
        reproduction: report::Reproduction { command: command.to_owned(), ..report::Reproduction::default() },
        ..report::ReportData::default()
    };
    Ok(Across { page: report::render(&data), score_over_cost: report::score_over_cost(&data) })
}

/// A column of a comparison: the trainings that differ in seeds only.
#[derive(Debug)]
pub struct Column<'o> {
    /// Its name.
    pub name: String,
    /// The trainings, in the order of their seeds.
    pub outcomes: Vec<&'o VariantOutcome>,
}

impl<'o> Column<'o> {
    /// The columns of trainings; `named` says what the column of a group is called.
    pub fn of(outcomes: &[&'o VariantOutcome], named: &dyn Fn(&Repeated) -> String) -> Vec<Self> {
        let cells: Vec<Cell<'_>> = outcomes.iter().map(|outcome| outcome.member().cell).collect();
        let column = |group: Repeated| Self {
            name: named(&group),
            outcomes: group.cells.iter().filter_map(|&cell| outcomes.get(cell).copied()).collect(),
        };
        repeated(&cells).into_iter().map(column).collect()
    }

    /// The median time of a training step in milliseconds, the mean of all trainings.
    fn step_ms(&self) -> Option<f64> {
        self.mean(|outcome| outcome.step_ms)
    }

    /// The share of the steps' time that went into waiting for data, the mean of all trainings.
    fn data_wait(&self) -> Option<f64> {
        self.mean(|outcome| outcome.data_wait)
    }

    /// The mean of all trainings of which it is known.
    fn mean(&self, of: impl Fn(&VariantOutcome) -> Option<f64>) -> Option<f64> {
        let known: Vec<f64> = self.outcomes.iter().filter_map(|&outcome| of(outcome)).collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    }

    /// The gate of every edge, over all trainings.
    fn gates(&self) -> IndexMap<String, GateRecord> {
        let mut gates: IndexMap<String, GateRecord> = IndexMap::new();
        let trainings = self.outcomes.len().max(1) as f64;
        for (name, gate) in self.outcomes.iter().flat_map(|outcome| &outcome.gates) {
            let sum = gates.entry(name.clone()).or_default();
            sum.mean += gate.mean / trainings;
            sum.deviation += gate.deviation / trainings;
        }
        gates
    }
}

/// A column, with the curves of its first training.
fn variant(column: &Column<'_>, record: Option<&RunRecord>) -> Result<report::Variant, ExperimentError> {
    let Some(outcome) = column.outcomes.first() else { return Ok(report::Variant::default()) };
    let (mut metrics, mut trained) = (Vec::new(), Vec::new());
    let entry = record.and_then(|record| record.variants.get(&outcome.name));
    for stage in stages(&outcome.dir, &outcome.recipe) {
        let known = stage.recipe.stage().and_then(|name| Some((name, entry?.stages.get(name)?)));
        trained.extend(known.map(|(name, known)| report::Stage {
            name: name.to_owned(),
            begins: stage.before,
            steps: known.steps,
            trained: known.trainable_parameters,
            learning_rate: stage.recipe.train.lr,
            loss: known.final_loss,
            taken_from: known.taken_from.clone(),
        }));
        // A stage that was not begun has recorded nothing.
        if stage.dir.metrics_path().exists() || stage.recipe.stages.len() < 2 {
            let own = read_metrics(&stage.dir.metrics_path())?.into_iter();
            metrics.extend(own.map(|m| MetricRecord { step: stage.before + m.step, ..m }));
        }
    }
    let (metrics, measured): (Vec<MetricRecord>, Vec<MetricRecord>) =
        metrics.into_iter().partition(|m| m.phase == MetricPhase::Train);
    let measured = |name: &str| -> report::Series {
        measured.iter().filter_map(|m| Some((m.step, *m.scalars.get(name)?))).collect()
    };
    let series = |name: &str| -> report::Series {
        metrics.iter().filter_map(|m| Some((m.step, *m.scalars.get(name)?))).collect()
    };
    // Stages have other groups.
    let rate =
        |m: &MetricRecord| m.scalars.iter().find(|(name, _)| name.starts_with("lr/")).map(|(_, rate)| *rate);
    Ok(report::Variant {
        name: column.name.clone(),
        description: description(outcome, column.outcomes.len()),
        topology: topology(outcome, &column.gates(), &series)?,
        gate_note: outcome.gate_note.clone(),
        curves: report::Curves {
            loss: series("loss"),
            held_out_loss: measured(HELD_OUT_LOSS),
            sampled_score: measured(SAMPLE_SCORE),
            learning_rate: metrics.iter().filter_map(|m| Some((m.step, rate(m)?))).collect(),
            gradient_norm: series("grad_norm"),
        },
        stages: trained,
    })
}

/// What a variant is, and whether it is not yet all that.
fn description(outcome: &VariantOutcome, seeds: usize) -> String {
    let partly = outcome.partly_trained().map(|partly| format!("Only {partly}."));
    let seed = outcome.recipe.train.seed;
    let several =
        (seeds > 1).then(|| format!("Gates are means over {seeds} seeds, curves those of seed {seed}."));
    let parts = [outcome.description.clone(), partly.unwrap_or_default(), several.unwrap_or_default()];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Every n-th question, so that pictures and question types are spread over the whole split.
fn samples(data: &Data, columns: &[Column<'_>]) -> report::SampleSet {
    let outcomes = || columns.iter().filter_map(|column| Some((&column.name, *column.outcomes.first()?)));
    let Some((_, first)) = outcomes().next() else { return report::SampleSet::default() };
    let images = data.images(first.recipe.eval.split).0;
    let stride = (first.records.len() / SAMPLES).max(1);
    let mut items = Vec::new();
    for (number, sample) in first.records.iter().enumerate().step_by(stride).take(SAMPLES) {
        let example = sample.id.parse::<usize>().ok().and_then(|id| images.examples().get(id));
        let picture =
            example.and_then(|e| images.images().image(e.image)).and_then(|image| image.to_png().ok());
        let answers = outcomes()
            .filter_map(|(name, v)| v.records.get(number).map(|r| (name, r)))
            .filter(|(_, r)| r.id == sample.id)
            .map(|(name, r)| report::Answer {
                variant: name.clone(),
                text: r.answer.clone().unwrap_or_else(|| "(failed)".to_owned()),
                correct: r.correct,
            })
            .collect();
        items.push(report::Sample {
            id: sample.id.clone(),
            picture,
            alt: format!("picture {} of the {} set", sample.image, data.name()),
            kind: sample.kind.clone(),
            question: sample.question.clone(),
            truth: sample.truth.join(" or "),
            answers,
        });
    }
    report::SampleSet { selection: format!("every {stride}th question of the split"), items }
}

fn reproduction(
    loaded: &LoadedRecipe,
    command: &str,
    record: &RunRecord,
    data: &Data,
    variants: &[VariantOutcome],
) -> Result<report::Reproduction, ExperimentError> {
    let recipe = resolved::text(loaded)?;
    let mut timings = vec![report::Timing {
        phase: "data".to_owned(),
        variant: None,
        seconds: record.seconds.get("data").copied().unwrap_or_default(),
    }];
    for variant in variants {
        timings.extend(variant.seconds.iter().map(|(phase, seconds)| report::Timing {
            phase: phase.clone(),
            variant: Some(variant.name.clone()),
            seconds: *seconds,
        }));
    }
    let kernels = record.variants.iter().flat_map(|(name, v)| kernels(name, &v.kernel_choices)).collect();
    Ok(report::Reproduction {
        command: command.to_owned(),
        recipe,
        environment: vec![
            ("device".to_owned(), record.device.clone()),
            ("threads".to_owned(), record.threads.to_string()),
            ("precision".to_owned(), precisions(record)),
            (
                "seeds".to_owned(),
                record.seeds.iter().map(|(k, v)| format!("{k} {v}")).collect::<Vec<_>>().join(", "),
            ),
        ]
        .into_iter()
        .chain(commit(record))
        .collect(),
        kernels,
        assets: assets(data),
        timings,
    })
}

/// How often each kernel is called in a training step.
fn kernels(variant: &str, choices: &IndexMap<String, String>) -> Vec<report::KernelChoice> {
    let mut calls: BTreeMap<&str, usize> = BTreeMap::new();
    let of_step = |site: &str| site.starts_with("train ") || site.starts_with("apply ");
    for (_, kernel) in choices.iter().filter(|(site, _)| of_step(site)) {
        *calls.entry(kernel).or_default() += 1;
    }
    let choice = |(kernel, calls): (&str, usize)| report::KernelChoice {
        site: variant.to_owned(),
        shape: String::new(),
        kernel: kernel.to_owned(),
        note: format!("{calls} calls per step"),
    };
    calls.into_iter().map(choice).collect()
}

/// In which types the variants compute, said once where all do the same.
fn precisions(record: &RunRecord) -> String {
    let mut variants: IndexMap<&str, Vec<&str>> = IndexMap::new();
    for (name, variant) in record.variants.iter().filter(|(_, variant)| !variant.precision.is_empty()) {
        variants.entry(&variant.precision).or_default().push(name);
    }
    match variants.len() {
        1 => variants.keys().copied().collect(),
        _ => variants
            .iter()
            .map(|(precision, names)| format!("{}: {precision}", names.join(", ")))
            .collect::<Vec<_>>()
            .join("; "),
    }
}

fn commit(record: &RunRecord) -> Option<(String, String)> {
    let dirty = if record.git_dirty == Some(true) { ", with uncommitted changes" } else { "" };
    Some(("recipe's commit".to_owned(), format!("{}{dirty}", record.git_commit.as_ref()?)))
}

fn assets(data: &Data) -> Vec<report::Asset> {
    let manifest = data.manifest();
    match data.asset() {
        Some(asset) => vec![report::Asset {
            name: asset.id(),
            source: manifest.source,
            bytes: Some(asset.bytes),
            sha256: asset.sha256.clone(),
            licence: asset.licence.clone(),
        }],
        None => {
            vec![report::Asset { name: manifest.name, source: manifest.source, ..report::Asset::default() }]
        }
    }
}
