//! `train`: the first half of the main job.

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use crossloom_run::{DataSets, Job, PreviewedRow, preview};
use serde_json::json;

use super::run::{How, perform};
use crate::cli::{CliError, EntryArgs, SubjectArgs, Terminal};

const AFTER_HELP: &str = "\
Examples:
  $ crossloom train recipes/synthetic.toml
  $ crossloom train recipes/quickstart.toml --variant cli --set train.steps=500
  $ crossloom train recipes/quickstart.toml --resume
  $ crossloom train recipes/synthetic.toml --variant cli --dry-run

Ctrl-C writes a checkpoint and exits with 130; --resume continues as if nothing had happened.";

/// What `--help` says first.
pub const LONG_ABOUT: &str = "Train every variant of a recipe, or one, and write checkpoints and metrics. `eval` answers the questions afterwards; \
    `run` does both and compares.";

/// Arguments of `train`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    subject: SubjectArgs,
    #[command(flatten)]
    entry: EntryArgs,
    /// Read the data, show the first samples as the model would read them, with what is learned in ⟦brackets⟧, and train nothing.
    #[arg(long)]
    dry_run: bool,
    /// Write one JSON document: the run's folder, or the samples of --dry-run.
    #[arg(long)]
    json: bool,
}

/// Samples that a dry run shows of each training.
const SHOWN: usize = 4;

/// Trains the variants of a recipe.
///
/// # Errors
/// The recipe cannot be used; training failed, or was interrupted.
pub fn run(args: &Args, terminal: &Terminal) -> Result<ExitCode, CliError> {
    if args.dry_run {
        return dry_run(args, terminal);
    }
    perform(How { job: Job::Train, entry: args.entry, json: args.json }, &args.subject, terminal)
}

/// Shows what the trainings of the variants would draw first.
fn dry_run(args: &Args, terminal: &Terminal) -> Result<ExitCode, CliError> {
    let (loaded, _) = args.subject.load(terminal)?;
    let folder = loaded.path.parent().unwrap_or(Path::new("."));
    let data = DataSets::of_variants(&loaded.variants, folder, &AtomicBool::new(false), &mut |_| {})?;
    let mut documents = Vec::new();
    for variant in args.subject.variant.choose(&loaded)? {
        for recipe in variant.recipe.by_stage() {
            let rows = preview(&recipe, data.of(&recipe)?, SHOWN)?;
            let title = match recipe.stage() {
                Some(stage) => format!("{}, stage {stage}", variant.name),
                None => variant.name.clone(),
            };
            if !args.json {
                terminal.print(&format!("{title}:"))?;
                for row in &rows {
                    let PreviewedRow { picture, samples, text, positions, learned } = row;
                    let picture = match picture {
                        Some(picture) => format!("picture {picture}, "),
                        None => samples.iter().flat_map(|sample| [sample.as_str(), ", "]).collect(),
                    };
                    terminal
                        .print(&format!("  {picture}{positions} positions, {learned} learned\n{text}"))?;
                }
            }
            documents.push(json!({ "variant": variant.name, "stage": recipe.stage(), "samples": rows }));
        }
    }
    if args.json {
        terminal.json(&json!({ "trainings": documents }))?;
    }
    Ok(ExitCode::SUCCESS)
}
