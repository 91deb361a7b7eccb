//! `runs compare`.

use std::collections::BTreeMap;

use crossloom_eval::compare::{CompareOptions, Comparison, Contender, Standing, compare};
use crossloom_eval::{Metric, Resampling, Results, SampleRecord, read_samples};
use crossloom_train::run_dir::RunDir;

use super::{Runs, read_json, results_of};
use crate::cli::{CliError, RunsArgs, Terminal};

pub(super) const AFTER_HELP: &str = "\
Examples:
  $ crossloom runs compare quickstart
  $ crossloom runs compare quickstart-1a2b3c4d/cli quickstart-5e6f7a8b/cli
  $ crossloom runs compare quickstart --baseline cli --json

Without a variant, all variants of a run take part. The runs must have answered the same questions: intervals and tests \
are paired, question by question, and resampled by picture.";

/// Arguments of `runs compare`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Runs, or variants of runs as RUN/VARIANT.
    #[arg(required = true, value_name = "RUN[/VARIANT]")]
    contenders: Vec<String>,
    #[command(flatten)]
    runs: RunsArgs,
    /// The column that the others are compared with. Default: the baseline of the first run.
    #[arg(long, value_name = "COLUMN")]
    baseline: Option<String>,
    /// A column that is a yardstick and cannot win; may be given several times. Default: models without the picture.
    #[arg(long = "reference", value_name = "COLUMN")]
    references: Vec<String>,
    /// Write one JSON document.
    #[arg(long)]
    json: bool,
}

/// A variant that takes part.
struct Column {
    run: String,
    variant: String,
    role: Standing,
    baseline: bool,
    results: Results,
    records: Vec<SampleRecord>,
}

pub(super) fn run(args: &Args, terminal: &Terminal) -> Result<(), CliError> {
    let mut columns = Vec::new();
    for contender in &args.contenders {
        let runs = Runs::below(&args.runs.out);
        match runs.find(contender) {
            Ok(run) => columns.extend(evaluated(&run, None)?),
            Err(unknown) => {
                let (run, variant) = contender.rsplit_once('/').ok_or(unknown)?;
                columns.extend(evaluated(&runs.find(run)?, Some(variant))?);
            }
        }
    }
    let names = column_names(&columns);
    for name in args.baseline.iter().chain(&args.references) {
        if !names.contains(name) {
            let help = format!("the columns are {}", names.join(", "));
            return Err(CliError::usage(format!("there is no column `{name}`"), help));
        }
    }
    let Some(first) = columns.first() else {
        return Err(CliError::usage(
            "no variant was evaluated",
            "finish the run: crossloom run RECIPE --resume",
        ));
    };
    let (metric, resampling): (Metric, Resampling) = (first.results.metric, first.results.resampling);
    if let Some(other) = columns.iter().position(|column| column.results.metric != metric) {
        let (a, b) = (metric.name(), columns[other].results.metric.name());
        return Err(CliError::failed(format!("`{}` was scored by {b}, `{}` by {a}", names[other], names[0])));
    }
    let marked = columns.iter().position(|column| column.baseline).map(|at| names[at].clone());
    let contenders: Vec<Contender<'_>> = (columns.iter().zip(&names))
        .map(|(column, name)| {
            let role = if args.references.contains(name) { Standing::Reference } else { column.role };
            Contender { name, role, records: &column.records }
        })
        .collect();
    let baseline = args.baseline.clone().or(marked);
    let options = CompareOptions { metric, baseline, resampling, priors: Vec::new() };
    let comparison = compare(&contenders, &options).map_err(CliError::failed)?;
    if args.json {
        terminal.json(&comparison.to_json().map_err(CliError::failed)?)
    } else {
        let width = terminal.width();
        terminal.print(&width.map_or_else(|| comparison.to_text(), |width| comparison.to_text_within(width)))
    }
}

/// The evaluated variants of a run, in the order of its record, or the one that is named.
fn evaluated(run: &RunDir, only: Option<&str>) -> Result<Vec<Column>, CliError> {
    let record = run.read_record().map_err(CliError::failed)?;
    let comparison: Option<Comparison> = read_json(&run.path().join("comparison.json"))?;
    let roles: BTreeMap<&str, Standing> = (comparison.iter())
        .flat_map(|comparison| &comparison.columns)
        .map(|column| (column.name.as_str(), column.role))
        .collect();
    let dirs = run.variants().map_err(CliError::failed)?;
    let mut order: Vec<&str> = record.variants.keys().map(String::as_str).collect();
    if let Some(only) = only {
        if !order.contains(&only) {
            let help = format!("it has {}", order.join(", "));
            return Err(CliError::usage(format!("run `{}` has no variant `{only}`", run.id()), help));
        }
        order = vec![only];
    }
    let mut columns = Vec::new();
    for name in order {
        let Some(dir) = dirs.iter().find(|dir| dir.name() == name) else { continue };
        let Some(results) = results_of(dir)? else {
            if only.is_some() {
                let help = "finish the run: crossloom run RECIPE --resume";
                return Err(CliError::usage(format!("`{}/{name}` was not evaluated", run.id()), help));
            }
            continue;
        };
        columns.push(Column {
            run: run.id(),
            variant: name.to_owned(),
            role: match record.variants.get(name).map(|variant| variant.role.as_str()) {
                Some("reference") => Standing::Reference,
                Some("model") => Standing::Model,
                // An older run has the roles in its comparison alone.
                _ => roles.get(name).copied().unwrap_or(Standing::Model),
            },
            baseline: comparison.as_ref().is_some_and(|comparison| comparison.baseline == name),
            results,
            records: read_samples(&dir.samples_path()).map_err(CliError::failed)?,
        });
    }
    Ok(columns)
}

/// The variants' names, with the run's where that is needed to tell them apart.
fn column_names(columns: &[Column]) -> Vec<String> {
    let one_run = columns.iter().all(|column| column.run == columns[0].run);
    let name = |column: &Column| {
        if one_run { column.variant.clone() } else { format!("{}/{}", column.run, column.variant) }
    };
    columns.iter().map(name).collect()
}
