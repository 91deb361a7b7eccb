//! `schema`: the JSON Schema of recipe files.

use std::path::PathBuf;
use std::process::ExitCode;

use crossloom_files::write_atomic;

use crate::cli::{CliError, Terminal};

/// What the verb is for.
pub(crate) const LONG_ABOUT: &str = "\
Print the JSON Schema of recipe files. It is made from the types that recipes are read into, so it is \
never out of date.";

const AFTER_HELP: &str = "\
Examples:
  $ crossloom schema > schema.json
  $ crossloom schema --write recipes/schema.json

Editors with a TOML language server complete and check a recipe whose first line is `#:schema ./schema.json`.";

/// Arguments of `schema`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct Args {
    /// Write it to this file instead of standard output.
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    write: Option<PathBuf>,
}

/// The schema as it is written to files.
///
/// # Errors
/// The serializer's, which a schema cannot cause.
pub fn schema_text() -> Result<String, CliError> {
    let text = serde_json::to_string_pretty(&crossloom_recipe::json_schema()).map_err(CliError::failed)?;
    Ok(format!("{text}\n"))
}

/// Prints or writes the schema.
///
/// # Errors
/// It cannot be written.
pub fn run(args: &Args, terminal: &Terminal) -> Result<ExitCode, CliError> {
    let text = schema_text()?;
    match &args.write {
        None => terminal.print(&text)?,
        Some(path) => {
            write_atomic(path, text.as_bytes())
                .map_err(|error| CliError::failed(format!("cannot write {}: {error}", path.display())))?;
            terminal.note(&format!("wrote {}", path.display()));
        }
    }
    Ok(ExitCode::SUCCESS)
}
