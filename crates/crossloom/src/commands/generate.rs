//! `generate`: answers to a person's own questions.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::runs::Runs;
use crate::cli::{CliError, SubjectArgs, Table, Terminal};
use crossloom_run::{generate, unfinished_stage};

/// What the verb is for.
pub(crate) const LONG_ABOUT: &str = "\
Answer questions about a picture with a trained variant. All questions see the picture; none sees another.";

const AFTER_HELP: &str = "\
Examples:
  $ crossloom generate recipes/quickstart.toml --variant cli --image shape.png --question \"is there a red shape?\"
  $ crossloom generate runs/quickstart-1a2b3c4d --variant cli --image shape.png --question \"is there a red shape?\"
  $ crossloom generate recipes/synthetic.toml --variant cli --image a.png --question red? --question blue? --json

In place of a recipe stands the folder of a run, which is all that is needed: neither the data set nor the network, also \
where it was copied to another machine. A recipe and its overrides must be those that were run; they find the folder. The \
variant's newest checkpoint answers; of one with stages that is the newest stage that has one.";

/// Arguments of `generate`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    subject: SubjectArgs,
    /// The picture, PNG or JPEG.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    image: PathBuf,
    /// A question about it; may be given several times.
    #[arg(long = "question", value_name = "TEXT", required = true)]
    questions: Vec<String>,
    /// Write one JSON document: every question with its answer, and whether that ended by itself.
    #[arg(long)]
    json: bool,
}

/// Answers.
///
/// # Errors
/// The recipe cannot be used or was not run; a picture that cannot be read; a word that the model does not know.
pub fn run(args: &Args, terminal: &Terminal) -> Result<ExitCode, CliError> {
    let SubjectArgs { variant, runs, .. } = &args.subject;
    let (loaded, run) = args.subject.to_ask(terminal)?;
    let variant = variant.only(&loaded)?;
    let run = match run {
        Some(run) => run,
        None => Runs::below(&runs.out).of_recipe(&loaded)?,
    };
    let dir = run.variant_path(&variant.name).map_err(CliError::failed)?;
    if let Some(told) = unfinished_stage(&dir, &variant.recipe)? {
        terminal.note(&format!("`{}` is {told}", variant.name));
    }
    let resources = args.subject.resources.into();
    // Inside the pool, as a run is.
    let answers = rayon::scope(|_| generate(&dir, &variant.recipe, &args.image, &args.questions, resources))?;
    if args.json {
        let image = args.image.display().to_string();
        terminal.json(&json!({ "image": image, "variant": variant.name, "answers": answers }))?;
    } else {
        let mut table = Table::new(["question", "answer"]);
        for answer in answers {
            let cut = if answer.finished { "" } else { " … (cut at the longest length)" };
            table.row([answer.question, format!("{}{cut}", answer.answer)]);
        }
        terminal.print(&table.to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}
