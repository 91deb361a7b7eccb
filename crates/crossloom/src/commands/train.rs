//! `train`: the first half of the main job.

use std::process::ExitCode;

use super::run::{How, ThreadArgs, perform};
use crate::cli::{CliError, RecipeArgs, RunsArgs, Terminal, VariantArgs};
use crate::experiment::Job;

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
    recipe: RecipeArgs,
    #[command(flatten)]
    variant: VariantArgs,
    #[command(flatten)]
    runs: RunsArgs,
    /// Continue a run of this recipe that is there already. Settings for logging, checkpoints and scoring may differ.
    #[arg(long, conflicts_with = "force")]
    resume: bool,
    /// Throw away a run of this recipe that is there already; with `--variant`, that variant alone.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    threads: ThreadArgs,
    /// Write one JSON document: the run's folder.
    #[arg(long)]
    json: bool,
}

/// Trains the variants of a recipe.
///
/// # Errors
/// The recipe cannot be used; training failed, or was interrupted.
pub fn run(args: &Args, terminal: &Terminal) -> Result<ExitCode, CliError> {
    let how = How { job: Job::Train, resume: args.resume, force: args.force, json: args.json };
    perform(how, &args.recipe, &args.variant, &args.runs, args.threads, terminal)
}
