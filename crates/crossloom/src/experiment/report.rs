//! Mapping a run onto the report.

use std::path::PathBuf;

use crossloom_data::assets::Registry;
use crossloom_eval::stats::{Estimate, PairedDifference};
use crossloom_eval::{Comparison, Role};
use crossloom_recipe::{Gate, Topology, VisionAddress};
use crossloom_report as report;
use crossloom_train::metrics::{MetricPhase, MetricRecord, read_metrics};
use crossloom_train::run_dir::{RunDir, RunRecord};

use super::run::RunRequest;
use super::{ExperimentData, ExperimentError, VariantOutcome};

/// Pictures shown in the report.
const SAMPLES: usize = 24;

/// Writes `report.html` and returns its path.
pub(super) fn write(
    request: &RunRequest<'_>,
    dir: &RunDir,
    record: &RunRecord,
    data: &ExperimentData,
    variants: &[VariantOutcome],
    comparison: &Comparison,
) -> Result<PathBuf, ExperimentError> {
    let page = report::ReportData {
        name: record.name.clone(),
        verdict: comparison.verdict.first().cloned(),
        key_figures: Vec::new(),
        provenance: report::Provenance {
            date: utc(record.updated),
            recipe_hash: record.recipe_hash.clone(),
            device: format!("{}, {} threads", record.device, record.threads),
            total_seconds: record.seconds.get("total").copied(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        accuracy: accuracy(variants, comparison),
        variants: variants.iter().map(variant).collect::<Result<_, _>>()?,
        samples: samples(data, variants),
        reproduction: reproduction(request, record, data, variants),
    };
    dir.write("report.html", report::render(&page).as_bytes())?;
    Ok(dir.report_path())
}

/// A time as `2026-11-21 05:40 UTC`.
fn utc(seconds: f64) -> String {
    let minutes = (seconds / 60.0) as i64;
    let (days, minute) = (minutes.div_euclid(1440), minutes.rem_euclid(1440));
    // Days since 0000-03-01, in eras of 400 years.
    let day = days + 719_468;
    let era = day.div_euclid(146_097);
    let of_era = day.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let date = of_year - (153 * shifted + 2) / 5 + 1;
    format!("{year:04}-{month:02}-{date:02} {:02}:{:02} UTC", minute / 60, minute % 60)
}

fn estimate(e: &Estimate) -> report::Estimate {
    report::Estimate { mean: e.mean, low: e.low, high: e.high }
}

fn exact(mean: f64) -> report::Estimate {
    report::Estimate { mean, low: mean, high: mean }
}

fn difference(d: &PairedDifference) -> report::Estimate {
    report::Estimate { mean: d.difference, low: d.low, high: d.high }
}

fn accuracy(variants: &[VariantOutcome], comparison: &Comparison) -> report::AccuracyTable {
    let types: Vec<String> =
        variants.first().map(|v| v.results.by_type.keys().cloned().collect()).unwrap_or_default();
    let mut columns = Vec::with_capacity(types.len() + 1);
    if let Some(first) = variants.first() {
        columns.push(report::AccuracyColumn {
            name: "overall".to_owned(),
            questions: first.results.overall.samples,
        });
        for (name, e) in &first.results.by_type {
            columns.push(report::AccuracyColumn { name: name.clone(), questions: e.samples });
        }
    }
    let mut rows: Vec<report::AccuracyRow> = Vec::new();
    for column in &comparison.columns {
        let variant = variants.iter().find(|v| v.name == column.name);
        let mut cells = vec![Some(estimate(&column.results.overall))];
        cells.extend(types.iter().map(|kind| column.results.by_type.get(kind).map(estimate)));
        let to_baseline = comparison.differences.iter().find(|d| d.first == column.name);
        rows.push(report::AccuracyRow {
            name: column.name.clone(),
            kind: if column.role == Role::Model {
                report::RowKind::Model
            } else {
                report::RowKind::QuestionOnly
            },
            cells,
            difference: to_baseline.map(|d| difference(&d.overall)),
            parameters: variant.map(|v| v.parameters),
            step_ms: variant.and_then(|v| v.step_ms),
        });
    }
    for prior in &comparison.priors {
        let mut cells = vec![Some(exact(prior.overall))];
        cells.extend(types.iter().map(|kind| prior.by_type.get(kind).map(|&mean| exact(mean))));
        rows.push(report::AccuracyRow {
            name: prior.name.clone(),
            kind: report::RowKind::QuestionOnly,
            cells,
            ..report::AccuracyRow::default()
        });
    }
    report::AccuracyTable {
        columns,
        rows,
        confidence: comparison.resampling.confidence,
        method: format!(
            "percentile bootstrap over pictures, {} resamples, seed {}",
            comparison.resampling.resamples, comparison.resampling.seed
        ),
        baseline: Some(comparison.baseline.clone()),
    }
}

fn variant(outcome: &VariantOutcome) -> Result<report::Variant, ExperimentError> {
    let metrics = read_metrics(&outcome.dir.metrics_path())?;
    let metrics: Vec<MetricRecord> = metrics.into_iter().filter(|m| m.phase == MetricPhase::Train).collect();
    let series = |name: &str| -> report::Series {
        metrics.iter().filter_map(|m| Some((m.step, *m.scalars.get(name)?))).collect()
    };
    let lr = metrics.iter().flat_map(|m| m.scalars.keys()).find(|name| name.starts_with("lr/")).cloned();
    Ok(report::Variant {
        name: outcome.name.clone(),
        description: outcome.recipe.description.clone(),
        topology: topology(outcome, &series)?,
        curves: report::Curves {
            loss: series("loss"),
            held_out_loss: report::Series::default(),
            learning_rate: lr.map(|name| series(&name)).unwrap_or_default(),
            gradient_norm: series("grad_norm"),
        },
    })
}

/// All layers, shallow first, and the edges with their gates.
fn topology(
    outcome: &VariantOutcome,
    series: &dyn Fn(&str) -> report::Series,
) -> Result<report::Topology, ExperimentError> {
    let topology = Topology::new(&outcome.recipe)?;
    let mut states = vec![VisionAddress::Embed];
    states.extend((1..=outcome.recipe.model.vision.layers).map(VisionAddress::Block));
    if outcome.recipe.model.vision.post_norm {
        states.push(VisionAddress::PostNorm);
    }
    let places = topology.places();
    let mut decoder: Vec<String> = vec!["input".to_owned()];
    decoder.extend((0..outcome.recipe.model.language.layers).map(|layer| format!("layer.{layer}")));
    decoder.extend(places.iter().map(|p| p.name()).filter(|name| name.ends_with(".after")));
    let gated = !matches!(outcome.recipe.topology.gate, Gate::None {});
    let mut edges = Vec::new();
    for edge in topology.edges() {
        let (tap, point) = (
            states.iter().position(|s| *s == edge.tap),
            decoder.iter().position(|p| *p == edge.point.name()),
        );
        let (Some(tap), Some(point)) = (tap, point) else { continue };
        let name = edge.name();
        let gate = outcome.gates.get(&name).filter(|_| gated).map(|&mean| report::Gate {
            mean: f64::from(mean),
            deviation: None,
            history: series(&format!("gate/{name}")),
        });
        edges.push(report::Edge { name, tap, point, gate });
    }
    Ok(report::Topology { vision: states.iter().map(ToString::to_string).collect(), decoder, edges })
}

/// Every n-th question, so that pictures and question types are spread over the whole split.
fn samples(data: &ExperimentData, variants: &[VariantOutcome]) -> report::SampleSet {
    let Some(first) = variants.first() else { return report::SampleSet::default() };
    let images = data.images(first.recipe.eval.split).0;
    let stride = (first.records.len() / SAMPLES).max(1);
    let mut items = Vec::new();
    for (number, sample) in first.records.iter().enumerate().step_by(stride).take(SAMPLES) {
        let example = sample.id.parse::<usize>().ok().and_then(|id| images.examples().get(id));
        let picture =
            example.and_then(|e| images.images().image(e.image)).and_then(|image| image.to_png().ok());
        let answers = variants
            .iter()
            .filter_map(|v| v.records.get(number).map(|r| (v, r)))
            .filter(|(_, r)| r.id == sample.id)
            .map(|(v, r)| report::Answer {
                variant: v.name.clone(),
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
    request: &RunRequest<'_>,
    record: &RunRecord,
    data: &ExperimentData,
    variants: &[VariantOutcome],
) -> report::Reproduction {
    let recipe: String = (request.recipe.variants.iter())
        .map(|v| format!("# variant {}\n{}\n", v.name, v.resolved_toml_with_provenance()))
        .collect();
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
    let kernels = record
        .variants
        .iter()
        .flat_map(|(name, v)| {
            v.kernel_choices.iter().map(move |(kernel, calls)| report::KernelChoice {
                site: name.clone(),
                shape: String::new(),
                kernel: kernel.clone(),
                note: format!("{calls} calls per step"),
            })
        })
        .collect();
    report::Reproduction {
        command: request.command.clone(),
        recipe,
        environment: vec![
            ("device".to_owned(), record.device.clone()),
            ("threads".to_owned(), record.threads.to_string()),
            (
                "seeds".to_owned(),
                record.seeds.iter().map(|(k, v)| format!("{k} {v}")).collect::<Vec<_>>().join(", "),
            ),
        ],
        kernels,
        assets: assets(data),
        timings,
    }
}

fn assets(data: &ExperimentData) -> Vec<report::Asset> {
    let manifest = data.manifest();
    let known = Registry::built_in().ok();
    match known.as_ref().and_then(|registry| registry.find(&manifest.name).ok()) {
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

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn times_are_calendar_dates() {
        assert_eq!(utc(0.0), "1970-01-01 00:00 UTC");
        assert_eq!(utc(951_782_400.0), "2000-02-29 00:00 UTC");
        assert_eq!(utc(1_795_239_600.0), "2026-11-21 05:40 UTC");
    }
}
