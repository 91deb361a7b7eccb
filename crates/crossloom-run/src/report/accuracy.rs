//! Accuracies of the variants and of counted answers.

use crossloom_eval::metrics::{meaning, title};
use crossloom_eval::stats::{Estimate, PairedDifference};
use crossloom_eval::{Comparison, Standing};
use crossloom_report as report;

use super::Column;

fn estimate(e: &Estimate) -> report::Estimate {
    report::Estimate { mean: e.mean, low: e.low, high: e.high }
}

fn exact(mean: f64) -> report::Estimate {
    report::Estimate { mean, low: mean, high: mean }
}

fn difference(d: &PairedDifference) -> report::Estimate {
    report::Estimate { mean: d.difference, low: d.low, high: d.high }
}

/// One row per column, then the priors.
pub(super) fn accuracy(columns: &[Column<'_>], comparison: Option<&Comparison>) -> report::AccuracyTable {
    let outcomes = || columns.iter().filter_map(|column| Some((&column.name, *column.outcomes.first()?)));
    let Some((_, first)) = outcomes().next() else { return report::AccuracyTable::default() };
    let types: Vec<String> = first.results.by_type.keys().cloned().collect();
    let overall = [("overall".to_owned(), &first.results.overall)];
    let by_type = first.results.by_type.iter().map(|(name, e)| (name.clone(), e));
    let headings = overall
        .into_iter()
        .chain(by_type)
        .map(|(name, e)| report::AccuracyColumn { name, questions: e.samples })
        .collect();
    let mut rows: Vec<report::AccuracyRow> = Vec::new();
    for (name, variant) in outcomes() {
        // A comparison has all intervals from the same settings; results may be older.
        let column = comparison.and_then(|c| c.columns.iter().find(|column| column.name == *name));
        let results = column.map_or(&variant.results, |column| &column.results);
        let mut cells = vec![Some(estimate(&results.overall))];
        cells.extend(types.iter().map(|kind| results.by_type.get(kind).map(estimate)));
        let to_baseline = comparison.and_then(|c| c.differences.iter().find(|d| d.first == *name));
        rows.push(report::AccuracyRow {
            name: name.clone(),
            kind: match variant.role {
                Standing::Model => report::RowKind::Model,
                Standing::Reference => report::RowKind::QuestionOnly,
            },
            cells,
            difference: to_baseline.map(|d| difference(&d.overall)),
            parameters: Some(variant.parameters),
            step_flops: variant.step_flops,
            step_ms: columns.iter().find(|column| column.name == *name).and_then(Column::step_ms),
            data_wait: columns.iter().find(|column| column.name == *name).and_then(Column::data_wait),
        });
    }
    for prior in comparison.iter().flat_map(|comparison| &comparison.priors) {
        let mut cells = vec![Some(exact(prior.overall))];
        cells.extend(types.iter().map(|kind| prior.by_type.get(kind).map(|&mean| exact(mean))));
        rows.push(report::AccuracyRow {
            name: prior.name.clone(),
            kind: report::RowKind::Prior,
            cells,
            ..report::AccuracyRow::default()
        });
    }
    let metric = first.results.metric;
    let resampling = comparison.map_or(first.results.resampling, |comparison| comparison.resampling);
    report::AccuracyTable {
        split: first.recipe.eval.split.name().to_owned(),
        metric: title(metric).to_owned(),
        meaning: meaning(metric).to_owned(),
        notes: outcomes()
            .filter_map(|(name, v)| Some(format!("`{name}`: {}.", v.results.benchmark.as_ref()?.to_text())))
            .collect(),
        columns: headings,
        rows,
        confidence: resampling.confidence,
        method: if comparison.is_some_and(|c| c.columns.iter().any(|c| c.results.overall.seeds > 1)) {
            "over seeds and pictures".to_owned()
        } else {
            "Agresti and Coull's, over pictures".to_owned()
        },
        baseline: comparison.map(|comparison| comparison.baseline.clone()),
    }
}
