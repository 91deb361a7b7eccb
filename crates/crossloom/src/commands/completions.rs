//! `completions`: what a shell needs to complete verbs and options.

use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::{Cli, CliError, Terminal};

/// What the verb is for.
pub(crate) const LONG_ABOUT: &str = "\
Print a script that lets a shell complete verbs, options and files.";

const AFTER_HELP: &str = "\
Examples:
  $ crossloom completions bash > ~/.local/share/bash-completion/completions/crossloom
  $ crossloom completions zsh > ~/.zfunc/_crossloom
  $ crossloom completions fish > ~/.config/fish/completions/crossloom.fish";

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &Args, terminal: &Terminal) -> Result<ExitCode, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "crossloom", &mut script);
    terminal.print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
