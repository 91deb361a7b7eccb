//! `runs ls`.

use std::path::Path;

use crossloom_eval::Results;
use crossloom_eval::metrics::title;
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
    let mut table = Table::new(["run", "state", "started", "score"]);
    let mut documents = Vec::new();
    for run in &runs {
        let scores = scores(run)?;
        let shown: Vec<String> = (scores.iter())
            .map(|(variant, results)| match results {
                Some(results) => {
                    format!("{variant} {:.3} {}", results.overall.mean, title(results.metric))
                }
                None => format!("{variant} -"),
            })
            .collect();
        let of = |value: fn(&Results) -> Value| -> Map<String, Value> {
            scores.iter().map(|(name, results)| (name.clone(), json!(results.as_ref().map(value)))).collect()
        };
        let (record, state) = (&run.record, run.record.status.name());
        table.row([run.dir.id(), state.to_owned(), utc(record.started), shown.join(", ")]);
        documents.push(json!({
            "run": run.dir.id(),
            "folder": run.dir.path().display().to_string(),
            "state": state,
            "started": record.started,
            "updated": record.updated,
            "recipe": record.recipe_path,
            "score": of(|results| json!(results.overall.mean)),
            "metric": of(|results| json!(results.metric)),
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

/// The results of every variant, none where it was not evaluated.
fn scores(run: &RunSummary) -> Result<Vec<(String, Option<Results>)>, CliError> {
    let mut scores = Vec::new();
    for name in run.record.variants.keys() {
        let results: Option<Results> = super::read_json(&run.dir.path().join(name).join("results.json"))?;
        scores.push((name.clone(), results));
    }
    if scores.is_empty() {
        for variant in run.dir.variants().map_err(CliError::failed)? {
            if let Some(results) = results_of(&variant)? {
                scores.push((variant.name(), Some(results)));
            }
        }
    }
    Ok(scores)
}
