//! `train`: the first half of the main job.

use std::process::ExitCode;

use super::run::{How, perform};
use crate::cli::{CliError, EntryArgs, SubjectArgs, Terminal};
use crossloom_run::Job;

const AFTER_HELP: &str = "\
Examples:
  $ crossloom train recipes/synthetic.toml
  $ crossloom train recipes/quickstart.toml --variant cli --set train.steps=500
  $ crossloom train recipes/quickstart.toml --resume

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
    /// Write one JSON document: the run's folder.
    #[arg(long)]
    json: bool,
}

/// Trains the variants of a recipe.
///
/// # Errors
/// The recipe cannot be used; training failed, or was interrupted.
pub fn run(args: &Args, terminal: &Terminal) -> Result<ExitCode, CliError> {
    perform(How { job: Job::Train, entry: args.entry, json: args.json }, &args.subject, terminal)
}
