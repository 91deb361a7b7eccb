//! `runs`: what was run.

mod compare;
mod list;
mod show;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crossloom_eval::Results;
use crossloom_recipe::LoadedRecipe;
use crossloom_train::run_dir::{RunDir, RunSummary, VariantDir, list_runs};

use crate::cli::{CliError, RunsArgs, Terminal};

/// What the verb is for.
pub(crate) const LONG_ABOUT: &str = "\
List, inspect and compare runs. A run is named by its folder or by the beginning of its name: \
`runs/quickstart-1a2b3c4d`, `quickstart-1a2b3c4d` or `quick`, if no other run begins so.";

/// Arguments of `runs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List runs, newest first.
    #[command(after_long_help = list::AFTER_HELP)]
    Ls {
        #[command(flatten)]
        runs: RunsArgs,
        /// Write one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Show what is recorded of a run.
    #[command(after_long_help = show::AFTER_HELP)]
    Show {
        /// The run: its folder, its name, or the beginning of its name.
        #[arg(value_name = "RUN")]
        run: String,
        #[command(flatten)]
        runs: RunsArgs,
        /// Write one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Compare answers of several runs or variants to the same questions.
    #[command(after_long_help = compare::AFTER_HELP)]
    Compare(compare::Args),
}

/// Lists, shows or compares.
///
/// # Errors
/// There is no such run, or it cannot be read or compared.
pub fn run(args: &Args, terminal: &Terminal) -> Result<ExitCode, CliError> {
    match &args.verb {
        Verb::Ls { runs, json } => list::run(&runs.out, *json, terminal)?,
        Verb::Show { run, runs, json } => show::run(run, &runs.out, *json, terminal)?,
        Verb::Compare(args) => compare::run(args, terminal)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The runs below a folder.
#[derive(Debug, Clone, Copy)]
pub struct Runs<'p> {
    root: &'p Path,
}

impl<'p> Runs<'p> {
    /// The runs below `root`.
    pub fn below(root: &'p Path) -> Self {
        Self { root }
    }

    /// The run of a name: a folder, a name, or the beginning of exactly one name.
    ///
    /// # Errors
    /// There is none, or several begin so; the folder cannot be listed.
    pub fn find(self, name: &str) -> Result<RunDir, CliError> {
        for path in [PathBuf::from(name), self.root.join(name)] {
            if let Ok(run) = RunDir::open(path) {
                return Ok(run);
            }
        }
        let (runs, _) = list_runs(self.root).map_err(CliError::failed)?;
        let mut ids: Vec<String> = runs.iter().map(|run| run.dir.id()).collect();
        let mut begun = runs.into_iter().filter(|run| !name.is_empty() && run.dir.id().starts_with(name));
        match (begun.next(), begun.next()) {
            (Some(RunSummary { dir, .. }), None) => Ok(dir),
            (Some(_), Some(_)) => {
                ids.retain(|id| id.starts_with(name));
                Err(CliError::usage(
                    format!("several runs begin with `{name}`"),
                    format!("say which: {}", ids.join(", ")),
                ))
            }
            (None, _) => {
                let help = if ids.is_empty() {
                    format!("there are no runs in `{}`; --out names another folder", self.root.display())
                } else {
                    format!("`{}` holds {}", self.root.display(), ids.join(", "))
                };
                Err(CliError::usage(format!("there is no run `{name}`"), help))
            }
        }
    }

    /// The run of a recipe.
    ///
    /// # Errors
    /// It was not run.
    pub fn of_recipe(self, loaded: &LoadedRecipe) -> Result<RunDir, CliError> {
        let id = RunDir::id_of(&loaded.base.name, &loaded.training_hash());
        RunDir::open(self.root.join(&id)).map_err(|_| {
            CliError::usage(
                format!(
                    "`{}` with these settings was not run: there is no {}",
                    loaded.path.display(),
                    self.root.join(&id).display()
                ),
                format!("run it first: crossloom run {}", loaded.path.display()),
            )
        })
    }
}

/// The numbers of a variant, once it was evaluated.
fn results_of(variant: &VariantDir) -> Result<Option<Results>, CliError> {
    read_json(&variant.results_path())
}

/// A JSON file, or nothing where it does not exist.
fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, CliError> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| CliError::failed(format!("{} is damaged: {error}", path.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CliError::failed(format!("cannot read {}: {error}", path.display()))),
    }
}
