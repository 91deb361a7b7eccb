//! `runs compare`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crossloom_eval::compare::{CompareOptions, Comparison, Costs, Standing};
use crossloom_eval::{Metric, Resampling, Results, SampleRecord, TableFormat, read_samples};
use crossloom_run::cells::{Cell, Member, Repeated, compared, repeated};
use crossloom_run::report::{Column, across_runs};
use crossloom_run::{VariantOutcome, resolved};
use crossloom_train::run_dir::{RunDir, VariantRecord};

use super::{Runs, read_json, results_of};
use crate::cli::{CliError, RunsArgs, Terminal, choice};

pub(super) const AFTER_HELP: &str = "\
Examples:
  $ crossloom runs compare quickstart
  $ crossloom runs compare quickstart-1a2b3c4d/cli quickstart-5e6f7a8b/cli
  $ crossloom runs compare fusion-strategies --format latex > table.tex
  $ crossloom runs compare fusion-strategies --report fusion.html --pareto fusion.svg
  $ crossloom runs compare quickstart --baseline cli --json

Without a variant, all variants of a run take part. The runs must have answered the same questions: intervals and tests \
are paired, question by question, and resampled by picture. Trainings that differ in `train.seed` only are one column: its interval \
is over seeds and pictures, and methods are compared seed by seed. In a sweep, a variant is compared with the baseline of its own \
settings. p-values are corrected after Holm.";

/// A form of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// For a terminal.
    Text,
    /// A table of one row per column.
    Table(TableFormat),
    /// For programs, whole.
    Json,
}

impl Format {
    const ALL: [Self; 5] = [
        Self::Text,
        Self::Table(TableFormat::Markdown),
        Self::Table(TableFormat::Latex),
        Self::Table(TableFormat::Csv),
        Self::Json,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Table(TableFormat::Markdown) => "markdown",
            Self::Table(TableFormat::Latex) => "latex",
            Self::Table(TableFormat::Csv) => "csv",
            Self::Json => "json",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Text => "For a terminal: every question type, costs, and what it means",
            Self::Table(TableFormat::Markdown) => "A row per model, with its costs",
            Self::Table(TableFormat::Latex) => "The same as a `tabular` with the rules of booktabs",
            Self::Table(TableFormat::Csv) => "The same as plain numbers",
            Self::Json => "All of it, for programs",
        }
    }
}

/// Arguments of `runs compare`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Runs, or variants of runs as RUN/VARIANT.
    #[arg(required = true, value_name = "RUN[/VARIANT]")]
    contenders: Vec<String>,
    #[command(flatten)]
    runs: RunsArgs,
    /// The column that all others are compared with. Default: the baseline of the first run, in a sweep that of the same settings.
    #[arg(long, value_name = "COLUMN")]
    baseline: Option<String>,
    /// A column that is a yardstick and cannot win; may be given several times. Default: models without the picture.
    #[arg(long = "reference", value_name = "COLUMN")]
    references: Vec<String>,
    /// How it is written.
    #[arg(long, value_parser = choice(&Format::ALL, Format::name, Format::about), default_value = "text")]
    format: Format,
    /// Write one JSON document, as `--format json`.
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Write a page too: scores over costs, topologies, and gates as heat maps side by side.
    #[arg(long, value_name = "FILE.html", value_hint = clap::ValueHint::FilePath)]
    report: Option<PathBuf>,
    /// Write scores over costs, with the Pareto front, as a picture of its own.
    #[arg(long, value_name = "FILE.svg", value_hint = clap::ValueHint::FilePath)]
    pareto: Option<PathBuf>,
}

/// A variant that takes part.
struct Entry {
    run: String,
    variant: String,
    role: Standing,
    baseline: bool,
    results: Results,
    records: Vec<SampleRecord>,
    costs: Costs,
    /// With its recipe, where the run's folder has one that can be read.
    outcome: Option<VariantOutcome>,
}

pub(super) fn run(args: &Args, terminal: &Terminal) -> Result<(), CliError> {
    let mut entries = Vec::new();
    for contender in &args.contenders {
        let runs = Runs::below(&args.runs.out);
        match runs.find(contender) {
            Ok(run) => entries.extend(evaluated(&run, None, terminal)?),
            Err(unknown) => {
                let (run, variant) = contender.rsplit_once('/').ok_or(unknown)?;
                entries.extend(evaluated(&runs.find(run)?, Some(variant), terminal)?);
            }
        }
    }
    let Some(first) = entries.first() else {
        return Err(CliError::usage(
            "no variant was evaluated",
            "finish the run: crossloom run RECIPE --resume",
        ));
    };
    let (metric, resampling): (Metric, Resampling) = (first.results.metric, first.results.resampling);
    if let Some(other) = entries.iter().find(|entry| entry.results.metric != metric) {
        let (a, b) = (metric.name(), other.results.metric.name());
        return Err(CliError::failed(format!(
            "`{}/{}` was scored by {b}, `{}/{}` by {a}",
            other.run, other.variant, first.run, first.variant
        )));
    }
    let mut members: Vec<Member<'_>> = entries.iter().map(Entry::member).collect();
    let cells: Vec<Cell<'_>> = members.iter().map(|member| member.cell).collect();
    let named = |group: &Repeated| column_name(group, &entries);
    let groups = repeated(&cells);
    let names: Vec<String> = groups.iter().map(named).collect();
    for name in args.baseline.iter().chain(&args.references) {
        if !names.contains(name) {
            let help = format!("the columns are {}", names.join(", "));
            return Err(CliError::usage(format!("there is no column `{name}`"), help));
        }
    }
    for (group, _) in groups.iter().zip(&names).filter(|(_, name)| args.references.contains(name)) {
        for &cell in &group.cells {
            members[cell].role = Standing::Reference;
        }
    }
    let options = CompareOptions { metric, baseline: args.baseline.clone(), resampling, priors: Vec::new() };
    let comparison = compared(&members, &options, &named).map_err(CliError::failed)?;
    if args.report.is_some() || args.pareto.is_some() {
        write_pictures(args, &entries, &comparison, terminal)?;
    }
    match args.format {
        _ if args.json => terminal.json(&comparison.to_json().map_err(CliError::failed)?),
        Format::Json => terminal.json(&comparison.to_json().map_err(CliError::failed)?),
        Format::Table(format) => terminal.print(&comparison.to_table(format)),
        Format::Text => {
            let width = terminal.width();
            terminal
                .print(&width.map_or_else(|| comparison.to_text(), |width| comparison.to_text_within(width)))
        }
    }
}

/// Writes the page and the picture that are asked for.
fn write_pictures(
    args: &Args,
    entries: &[Entry],
    comparison: &Comparison,
    terminal: &Terminal,
) -> Result<(), CliError> {
    let outcomes: Option<Vec<&VariantOutcome>> = entries.iter().map(|entry| entry.outcome.as_ref()).collect();
    let outcomes = outcomes.ok_or_else(|| CliError::Failed {
        message: "the recipe of a run cannot be read, so its topology cannot be shown".to_owned(),
        help: Some("leave it out, or run it again with this version".to_owned()),
    })?;
    let columns = Column::of(&outcomes, &|group| column_name(group, entries));
    let command = format!("crossloom runs compare {}", args.contenders.join(" "));
    let across = across_runs(&args.contenders.join(", "), &command, &columns, comparison)?;
    let write = |path: &Path, name: &str, text: &str| {
        crossloom_files::write_atomic(path, text.as_bytes())
            .map_err(|error| CliError::failed(format!("cannot write {}: {error}", path.display())))?;
        terminal.note(&format!("{name}: {}", path.display()));
        Ok(())
    };
    if let Some(path) = &args.report {
        write(path, "report", &across.page)?;
    }
    match (&args.pareto, &across.score_over_cost) {
        (Some(path), Some(picture)) => write(path, "picture", picture),
        (Some(_), None) => Err(CliError::Failed {
            message: "scores cannot be drawn over costs: fewer than two models, or one whose costs are not on record".to_owned(),
            help: Some("leave out what is only a reference, or run it again with this version".to_owned()),
        }),
        (None, _) => Ok(()),
    }
}

impl Entry {
    fn member(&self) -> Member<'_> {
        let recipe = self.outcome.as_ref().map(|outcome| &outcome.recipe);
        Member {
            cell: Cell { name: &self.variant, recipe, baseline: self.baseline },
            role: self.role,
            records: &self.records,
            costs: self.costs,
        }
    }
}

/// The evaluated variants of a run, in the order of its record, or the one that is named.
fn evaluated(run: &RunDir, only: Option<&str>, terminal: &Terminal) -> Result<Vec<Entry>, CliError> {
    let record = run.read_record().map_err(CliError::failed)?;
    let comparison: Option<Comparison> = read_json(&run.path().join("comparison.json"))?;
    let roles: BTreeMap<&str, Standing> = (comparison.iter())
        .flat_map(|comparison| &comparison.columns)
        .map(|column| (column.name.as_str(), column.role))
        .collect();
    let recipe = match resolved::load(run, &[]) {
        Ok(recipe) => Some(recipe),
        Err(error) => {
            terminal.note(&format!("each variant of {} is for itself, whatever its seed: {error}", run.id()));
            None
        }
    };
    let dirs = run.variants().map_err(CliError::failed)?;
    let mut order: Vec<&str> = record.variants.keys().map(String::as_str).collect();
    if let Some(only) = only {
        if !order.contains(&only) {
            let help = format!("it has {}", order.join(", "));
            return Err(CliError::usage(format!("run `{}` has no variant `{only}`", run.id()), help));
        }
        order = vec![only];
    }
    let mut entries = Vec::new();
    for name in order {
        let Some(dir) = dirs.iter().find(|dir| dir.name() == name) else { continue };
        let Some(results) = results_of(dir)? else {
            if only.is_some() {
                let help = "finish the run: crossloom run RECIPE --resume";
                return Err(CliError::usage(format!("`{}/{name}` was not evaluated", run.id()), help));
            }
            continue;
        };
        let variant = recipe.as_ref().and_then(|recipe| recipe.variant(name));
        let outcome = variant.map(|variant| VariantOutcome::earlier(variant, run, &record)).transpose()?;
        let known = record.variants.get(name);
        entries.push(Entry {
            run: run.id(),
            variant: name.to_owned(),
            role: match known.map(|variant| variant.role.as_str()) {
                Some("reference") => Standing::Reference,
                Some("model") => Standing::Model,
                // An older run has the roles in its comparison alone.
                _ => roles.get(name).copied().unwrap_or(Standing::Model),
            },
            baseline: match variant {
                Some(variant) => variant.baseline,
                None => comparison.as_ref().is_some_and(|comparison| comparison.baseline == name),
            },
            results,
            records: read_samples(&dir.samples_path()).map_err(CliError::failed)?,
            costs: known.map(costs).unwrap_or_default(),
            outcome: outcome.flatten(),
        });
    }
    Ok(entries)
}

/// What is on record of a variant's costs; a record of nothing says nothing.
fn costs(record: &VariantRecord) -> Costs {
    let known = |count: u64| (count > 0).then_some(count);
    Costs {
        parameters: known(record.parameters),
        trained: known(record.trainable_parameters),
        step_flops: record.step_flops,
        step_ms: record.step_ms,
    }
}

/// What the column of a group is called: the variant's name without the seed, with the run's in front where several take part and the
/// group is of one of them.
fn column_name(group: &Repeated, entries: &[Entry]) -> String {
    let run = |cell: usize| entries.get(cell).map_or("", |entry| entry.run.as_str());
    let first = group.cells.first().map_or("", |&cell| run(cell));
    let one_run = entries.iter().all(|entry| entry.run == first);
    let spans = group.cells.iter().any(|&cell| run(cell) != first);
    if one_run || spans { group.name.clone() } else { format!("{first}/{}", group.name) }
}
