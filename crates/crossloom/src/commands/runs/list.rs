//! `runs ls`.

use std::path::Path;

use crossloom_run::date::utc;
use crossloom_train::run_dir::{RunSummary, list_runs};
use serde_json::{Map, Value, json};

use super::results_of;
use crate::cli::{CliError, Table, Terminal};

pub(super) const AFTER_HELP: &str = "\
Examples:
  $ crossloom runs ls
  $ crossloom runs ls --out experiments --json";

pub(super) fn run(root: &Path, json: bool, terminal: &Terminal) -> Result<(), CliError> {
    let (runs, problems) = list_runs(root).map_err(CliError::failed)?;
    let mut table = Table::new(["run", "state", "started", "accuracy"]);
    let mut documents = Vec::new();
    for run in &runs {
        let accuracy = accuracy(run)?;
        let shown: Vec<String> = (accuracy.iter())
            .map(|(variant, value)| match value.as_f64() {
                Some(accuracy) => format!("{variant} {accuracy:.3}"),
                None => format!("{variant} -"),
            })
            .collect();
        let (record, state) = (&run.record, run.record.status.name());
        table.row([run.dir.id(), state.to_owned(), utc(record.started), shown.join(", ")]);
        documents.push(json!({
            "run": run.dir.id(),
            "folder": run.dir.path().display().to_string(),
            "state": state,
            "started": record.started,
            "updated": record.updated,
            "recipe": record.recipe_path,
            "accuracy": accuracy,
        }));
    }
    for problem in &problems {
        terminal.problem(&format!("warning: {}: {}", problem.path.display(), problem.error));
    }
    if json {
        let damaged: Vec<String> =
            problems.iter().map(|problem| problem.path.display().to_string()).collect();
        return terminal.json(&json!({ "runs": documents, "damaged": damaged }));
    }
    if table.is_empty() {
        terminal.note(&format!("there are no runs in `{}`", root.display()));
        return Ok(());
    }
    terminal.print(&table.to_string())
}

/// The accuracy of every variant, null where it was not evaluated.
fn accuracy(run: &RunSummary) -> Result<Map<String, Value>, CliError> {
    let mut accuracy = Map::new();
    for name in run.record.variants.keys() {
        let results = run.dir.path().join(name).join("results.json");
        let results: Option<crossloom_eval::Results> = super::read_json(&results)?;
        accuracy.insert(name.clone(), json!(results.map(|results| results.overall.mean)));
    }
    if accuracy.is_empty() {
        for variant in run.dir.variants().map_err(CliError::failed)? {
            if let Some(results) = results_of(&variant)? {
                accuracy.insert(variant.name(), json!(results.overall.mean));
            }
        }
    }
    Ok(accuracy)
}
