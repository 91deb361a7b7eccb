//! `run`: the main job.

use std::process::ExitCode;

use crossloom_eval::Comparison;
use serde_json::json;

use crate::cli::{CliError, EntryArgs, SubjectArgs, Terminal, stop_on_interrupt};
use crate::progress;
use crossloom_run::{Experiment, Finished, Job, RunOutcome};

/// What the verb is for.
pub(crate) const LONG_ABOUT: &str = "\
Train every variant of a recipe on the same data in the same order, evaluate each on the same questions, \
print one table that compares them with confidence intervals, and write a report.";

const AFTER_HELP: &str = "\
Examples:
  $ crossloom run recipes/synthetic.toml
  $ crossloom run recipes/quickstart.toml --variant cli --set train.steps=500
  $ crossloom run recipes/quickstart.toml --resume
  $ crossloom run recipes/synthetic.toml --out experiments --threads 2 --json

A run lies in `runs/NAME-HASH`, where the hash is that of what the resolved recipe trains: the same recipe has the same \
folder, also with other settings for logging, checkpoints and scoring. It holds the resolved recipe, run.json, metrics, checkpoints and answers of each variant, and report.html. Ctrl-C writes a \
checkpoint and exits with 130; --resume continues as if nothing had happened.";

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    subject: SubjectArgs,
    #[command(flatten)]
    entry: EntryArgs,
    /// Write one JSON document: the run's folder, its report and the comparison.
    #[arg(long)]
    json: bool,
}

/// Runs a recipe.
///
/// # Errors
/// The recipe cannot be used; the run failed, or was interrupted.
pub fn run(args: &Args, terminal: &Terminal) -> Result<ExitCode, CliError> {
    perform(How { job: Job::All, entry: args.entry, json: args.json }, &args.subject, terminal)
}

/// How a recipe is run.
#[derive(Clone, Copy)]
pub(super) struct How {
    /// How much of the road.
    pub(super) job: Job,
    /// What becomes of a run that is there.
    pub(super) entry: EntryArgs,
    /// Answer with one JSON document.
    pub(super) json: bool,
}

/// Runs a recipe, wholly or in part, and prints what came out.
pub(super) fn perform(how: How, subject: &SubjectArgs, terminal: &Terminal) -> Result<ExitCode, CliError> {
    let SubjectArgs { variant, runs, .. } = subject;
    let (loaded, folder) = subject.load(terminal)?;
    if folder.is_some() && how.job != Job::Evaluate {
        return Err(CliError::usage(
            format!("`{}` is the folder of a run, not a recipe", subject.recipe.recipe.display()),
            "give the recipe, with --resume to continue its run; `eval` and `generate` take a run's folder",
        ));
    }
    variant.choose(&loaded)?;
    let stop = stop_on_interrupt()?;
    let experiment = Experiment {
        recipe: &loaded,
        job: how.job,
        variants: variant.variant.iter().cloned().collect(),
        out: runs.out.clone(),
        folder,
        entry: how.entry.into(),
        resources: subject.resources.into(),
        command: typed(),
    };
    let mut reporter = progress::reporter(terminal);
    // Inside the pool: kernels then share its threads without asking for them, and a step allocates nothing.
    let outcome = rayon::scope(|_| experiment.run(reporter.as_mut(), &stop));
    drop(reporter);
    match outcome? {
        RunOutcome::Finished(finished) => {
            let (folder, report) = (finished.dir.path().display(), finished.report.display());
            if how.json {
                let comparison = finished.comparison.as_ref().map(Comparison::to_json);
                let comparison = comparison.transpose().map_err(CliError::failed)?;
                terminal.json(&json!({
                    "run": folder.to_string(),
                    "report": report.to_string(),
                    "comparison": comparison,
                }))?;
            } else {
                let text = finished.comparison.as_ref().map_or_else(|| alone(&finished), Comparison::to_text);
                terminal.print(&format!("{text}\nreport: {report}"))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        RunOutcome::Trained { dir } => {
            if how.json {
                terminal.json(&json!({ "run": dir.display().to_string() }))?;
            } else {
                terminal.print(&format!("trained: {}", dir.display()))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        RunOutcome::Interrupted { dir } => {
            let then = match how.job {
                Job::Evaluate => "is as it was trained, eval begins again",
                Job::All | Job::Train => "keeps all completed steps, --resume continues them",
            };
            Err(CliError::Interrupted(format!("interrupted; {} {then}", dir.display())))
        }
    }
}

/// The numbers of references that have no model to be compared with.
fn alone(finished: &Finished) -> String {
    let mut text = String::from("Only references were evaluated: there is no model to compare.\n");
    for variant in &finished.variants {
        let e = variant.results.overall;
        text += &format!("{}: {:.3} [{:.3}, {:.3}]\n", variant.name, e.mean, e.low, e.high);
    }
    text
}

/// The command as it was typed, quoted where a shell needs it.
fn typed() -> String {
    let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
    let quoted = words.map(|word| {
        let safe = !word.is_empty() && word.chars().all(plain);
        if safe { word } else { format!("'{}'", word.replace('\'', r"'\''")) }
    });
    std::iter::once("crossloom".to_owned()).chain(quoted).collect::<Vec<_>>().join(" ")
}
