//! `diff`: what differs between two recipes, or two variants of one.

use std::process::ExitCode;

use super::explain::figure_table;
use super::graph::SizeArgs;
use crate::cli::{BackendArgs, CliError, Pick, Table, Terminal, choice};
use crossloom_run::stages::{Diff, Format, Mode, Subject, diff};

/// What the verb is for.
pub(crate) const LONG_ABOUT: &str = "\
Say what differs between two recipes, or two variants of one: edges that were added, removed or moved (the same tap and adapter, \
another point), settings, parameters, FLOPs and memory, and the operations of every scope of their graphs. Nothing is run.";

const AFTER_HELP: &str = "\
Examples:
  $ crossloom diff recipes/quickstart.toml/projector recipes/quickstart.toml/cli
  $ crossloom diff recipes/quickstart.toml/projector cli
  $ crossloom diff recipes/ablations.toml/sli qwen3vl --format svg > moved.svg
  $ crossloom diff old.toml new.toml --format json

A recipe with several variants is named with one of them behind a slash; the second may be the name of another variant of the \
first. Pictures show both topologies at once.";

/// Arguments of `diff`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct Args {
    /// The first recipe, and its variant where it has several.
    #[arg(value_name = "RECIPE[/VARIANT]", value_hint = clap::ValueHint::FilePath)]
    first: String,
    /// The second, or another variant of the first.
    #[arg(value_name = "RECIPE[/VARIANT]|VARIANT", value_hint = clap::ValueHint::FilePath)]
    second: String,
    /// Override a setting of both, as in `--set train.batch_size=4`; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// How it is written.
    #[arg(long, value_parser = choice(&Format::ALL, Format::name, Format::about), default_value = "text")]
    format: Format,
    #[command(flatten)]
    sizes: SizeArgs,
    #[command(flatten)]
    backend: BackendArgs,
}

/// Compares two variants.
///
/// # Errors
/// A recipe cannot be used, built or compiled.
pub fn run(args: &Args, terminal: &Terminal) -> Result<ExitCode, CliError> {
    let first = Pick::new(&args.first, &args.sets, None, terminal)?;
    let second = Pick::new(&args.second, &args.sets, Some(&first), terminal)?;
    let found = diff(&subject(&first, args)?, &subject(&second, args)?)?;
    match args.format {
        Format::Text => terminal.print(&text(&found))?,
        Format::Json => terminal.json(&serde_json::to_value(&found).map_err(CliError::failed)?)?,
        drawn => terminal.print(&found.drawn(drawn))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn subject<'p>(pick: &'p Pick, args: &Args) -> Result<Subject<'p>, CliError> {
    let variant = pick.variant()?;
    Ok(Subject {
        name: &variant.name,
        recipe: &variant.recipe,
        shapes: args.sizes.of(&variant.recipe)?,
        mode: Mode::Train,
        backend: args.backend.backend,
        verify: false,
    })
}

fn text(diff: &Diff) -> String {
    let edges = &diff.edges;
    let mut text = format!(
        "{} → {}\n\n  edges: {} in both, {} added, {} removed, {} moved\n",
        diff.first,
        diff.second,
        edges.kept.len(),
        edges.added.len(),
        edges.removed.len(),
        edges.moved.len()
    );
    for (mark, names) in [("+", &edges.added), ("-", &edges.removed)] {
        for name in names {
            text.push_str(&format!("    {mark} {name}\n"));
        }
    }
    for edge in &edges.moved {
        text.push_str(&format!("    ~ {} → {}\n", edge.from, edge.to));
    }
    let mut settings = Table::new(["setting", "first", "second"]).indented(2);
    for change in &diff.settings {
        let side = |value: &Option<String>| value.clone().unwrap_or_else(|| "(not set)".to_owned());
        settings.row([change.key.clone(), side(&change.before), side(&change.after)]);
    }
    let mut scopes = Table::new(["scope", "operations"]).indented(2);
    for change in &diff.scopes {
        scopes.row([change.scope.clone(), change.summary()]);
    }
    for table in [settings, scopes].iter().filter(|table| !table.is_empty()) {
        text.push_str(&format!("\n{table}"));
    }
    text + &format!("\n{}", figure_table(&diff.figures))
}
