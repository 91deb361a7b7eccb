//! `eval`: the second half of the main job.

use std::process::ExitCode;

use super::run::{How, perform};
use crate::cli::{CliError, EntryArgs, SubjectArgs, Terminal};
use crossloom_run::Job;

const AFTER_HELP: &str = "\
Examples:
  $ crossloom eval recipes/synthetic.toml
  $ crossloom eval recipes/quickstart.toml --variant cli --json
  $ crossloom eval runs/quickstart-1a2b3c4d --set eval.limit=100

The recipe and its overrides must be those that were trained; they find the run's folder, which may stand in their place. Settings for logging, checkpoints \
and scoring may differ: another split, another limit. Variants that are not named keep their answers. Nothing is trained.";

/// What `--help` says first.
pub const LONG_ABOUT: &str = "Answer the evaluation questions with the newest checkpoint of every variant of a trained recipe, print one table that \
    compares them, and write the report anew. The recipe, with the same --set, says which run it is.";

/// Arguments of `eval`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    subject: SubjectArgs,
    /// Write one JSON document: the run's folder, its report and the comparison.
    #[arg(long)]
    json: bool,
}

/// Evaluates the variants of a recipe.
///
/// # Errors
/// The recipe cannot be used or was not trained; evaluation failed, or was interrupted.
pub fn run(args: &Args, terminal: &Terminal) -> Result<ExitCode, CliError> {
    let how = How { job: Job::Evaluate, entry: EntryArgs::default(), json: args.json };
    perform(how, &args.subject, terminal)
}
