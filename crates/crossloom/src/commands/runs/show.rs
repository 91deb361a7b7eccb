//! `runs show`.

use std::path::Path;

use crossloom_eval::metrics::title;
use crossloom_run::date::utc;
use crossloom_train::run_dir::{RunRecord, RunStatus, VariantRecord};
use serde_json::{Map, json};

use super::{Runs, read_json};
use crate::cli::{CliError, Terminal, bytes, counted, grouped};

pub(super) const AFTER_HELP: &str = "\
Examples:
  $ crossloom runs show quickstart
  $ crossloom runs show runs/quickstart-1a2b3c4d --json";

pub(super) fn run(name: &str, root: &Path, json: bool, terminal: &Terminal) -> Result<(), CliError> {
    let run = Runs::below(root).find(name)?;
    let record = run.read_settled().map_err(CliError::failed)?;
    let mut results = Map::new();
    let mut lines = vec![
        ("run", run.id()),
        ("folder", run.path().display().to_string()),
        ("recipe", record.recipe_path.clone()),
        ("state", state(&record.status)),
        ("started", utc(record.started)),
        ("device", format!("{}, {}", record.device, counted(record.threads as usize, "thread"))),
        ("seeds", listed(record.seeds.iter().map(|(name, seed)| format!("{name} {seed}")))),
        ("data", data(&record)),
        ("seconds", listed(record.seconds.iter().map(|(phase, time)| format!("{phase} {time:.1}")))),
    ];
    if run.report_path().exists() {
        lines.push(("report", run.report_path().display().to_string()));
    }
    let mut text = String::new();
    for (name, value) in lines.into_iter().filter(|(_, value)| !value.is_empty()) {
        text.push_str(&format!("{name:<8} {value}\n"));
    }
    for (name, variant) in &record.variants {
        let own = variant.seeds.iter().filter(|(purpose, seed)| record.seeds.get(*purpose) != Some(*seed));
        let seeds = listed(own.map(|(purpose, seed)| format!("{purpose} {seed}")));
        let numbers: Option<crossloom_eval::Results> =
            read_json(&run.path().join(name).join("results.json"))?;
        text.push_str(&format!("\nvariant {name}\n"));
        let seeds = Some(("seeds", seeds)).filter(|(_, seeds)| !seeds.is_empty());
        for (name, value) in variant_lines(variant, numbers.as_ref()).into_iter().chain(seeds) {
            text.push_str(&format!("  {name:<12} {value}\n"));
        }
        results.insert(name.clone(), json!(numbers));
    }
    if json {
        let folder = run.path().display().to_string();
        terminal.json(&json!({ "run": run.id(), "folder": folder, "record": record, "results": results }))
    } else {
        terminal.print(&text)
    }
}

fn variant_lines(
    variant: &VariantRecord,
    results: Option<&crossloom_eval::Results>,
) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("state", state(&variant.status)),
        ("steps", grouped(variant.steps)),
        (
            "parameters",
            format!("{}, {} trained", grouped(variant.parameters), grouped(variant.trainable_parameters)),
        ),
    ];
    if let Some(place) = &variant.taken_from {
        lines.push(("trained by", place.clone()));
    }
    for (name, stage) in &variant.stages {
        let loss = stage.final_loss.map(|loss| format!(", last loss {loss:.4}")).unwrap_or_default();
        let from = stage.taken_from.as_ref().map(|from| format!(", trained by {from}")).unwrap_or_default();
        let trained = grouped(stage.trainable_parameters);
        lines.push((
            "stage",
            format!("{name}: {}, {trained} trained{loss}{from}", counted(stage.steps as usize, "step")),
        ));
    }
    if let Some(loss) = variant.final_loss {
        lines.push(("last loss", format!("{loss:.4}")));
    }
    if let Some(results) = results {
        let overall = results.overall;
        let share = results.resampling.confidence * 100.0;
        lines.push((
            "score",
            format!(
                "{} {:.3} [{:.3}, {:.3}] at {share:.0} %, {} questions",
                title(results.metric),
                overall.mean,
                overall.low,
                overall.high,
                overall.samples
            ),
        ));
        lines.extend(results.benchmark.iter().map(|benchmark| ("benchmark", benchmark.to_text())));
        lines.push((
            "by type",
            listed(results.by_type.iter().map(|(kind, e)| format!("{kind} {:.3}", e.mean))),
        ));
    }
    lines.extend(variant.gate_note.iter().map(|note| ("gates", note.clone())));
    if !variant.bytes.is_empty() {
        lines.push((
            "memory",
            listed(variant.bytes.iter().map(|(name, size)| format!("{name} {}", bytes(*size)))),
        ));
    }
    if !variant.seconds.is_empty() {
        lines.push((
            "seconds",
            listed(variant.seconds.iter().map(|(phase, time)| format!("{phase} {time:.1}"))),
        ));
    }
    lines
}

fn state(status: &RunStatus) -> String {
    match status {
        RunStatus::Failed { error } => format!("failed: {error}"),
        other => other.name().to_owned(),
    }
}

fn data(record: &RunRecord) -> String {
    listed(record.data.iter().map(|data| {
        let splits = listed(data.splits.iter().map(|(split, questions)| format!("{questions} {split}")));
        format!("{} ({splits} questions)", data.name)
    }))
}

fn listed(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}
