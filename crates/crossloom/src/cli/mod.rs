//! The command line: what can be typed, how it ends, how it is said.
//!
//! [`Cli`] is the one description of all verbs and options; parsing, help, completions and their tests come from it.
//! Exit codes are those of [`CliError::exit_code`].

mod answer_options;
mod choice;
mod error;
mod interrupt;
mod options;
mod quantity;
mod run_options;
mod table;
mod terminal;

use std::io::Write as _;
use std::process::ExitCode;

use clap::builder::Styles;
use clap::builder::styling::AnsiColor;
use clap::{Parser, Subcommand};

use crate::commands;

pub use answer_options::{AskArgs, ModelArgs};
pub use choice::choice;
pub use error::CliError;
pub use interrupt::{on_interrupt, stop_on_interrupt};
pub use options::{BackendArgs, Pick, RecipeArgs, RunsArgs, VariantArgs, VerifyArgs};
pub use quantity::{bytes, counted, duration, grouped, scaled};
pub use run_options::{EntryArgs, SubjectArgs, ThreadArgs};
pub use table::Table;
pub use terminal::Terminal;

const LONG_ABOUT: &str = "\
crossloom compiles injection topologies of vision-language models: which layers of a vision encoder feed which layers \
of a language model, through which adapter and which gate. A TOML recipe says it; crossloom turns the recipe into a \
graph, compiles the graph into fused kernels, trains and evaluates every variant, and compares them.";

const AFTER_HELP: &str = "\
First steps:
  crossloom run recipes/synthetic.toml      train, evaluate and compare, offline, in half a minute
  crossloom check recipes/quickstart.toml   find every mistake in a recipe without running it
  crossloom explain recipes/quickstart.toml parameters, FLOPs and memory before anything runs
  crossloom recipe ls                       the recipes that come with crossloom

Exit codes:
  0    done
  1    it was tried and failed
  2    wrong usage, or a recipe that cannot be used
  130  interrupted (Ctrl-C, or a signal of a terminal or a batch system); a training run has written a checkpoint, --resume
       continues it

Results go to standard output, progress and messages to standard error. With --json, standard output is a single JSON \
document, or empty where the verb failed before it had one.";

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// Everything that can be typed.
#[derive(Debug, Parser)]
#[command(
    name = "crossloom",
    bin_name = "crossloom",
    version,
    about = "Compile, train and compare cross-layer injection topologies",
    long_about = LONG_ABOUT,
    after_long_help = AFTER_HELP,
    after_help = "`crossloom help VERB` explains a verb with examples; `crossloom --help` lists exit codes.",
    max_term_width = 100,
    arg_required_else_help = true,
    styles = STYLES,
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
    /// Say nothing but results and errors.
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Train, evaluate and compare every variant of a recipe.
    #[command(long_about = commands::run::LONG_ABOUT)]
    Run(commands::run::Args),
    /// Train the variants of a recipe.
    #[command(long_about = commands::train::LONG_ABOUT)]
    Train(commands::train::Args),
    /// Evaluate and compare the trained variants of a recipe.
    #[command(long_about = commands::eval::LONG_ABOUT)]
    Eval(commands::eval::Args),
    /// Answer questions about pictures with a trained variant.
    #[command(long_about = commands::generate::LONG_ABOUT)]
    Generate(commands::generate::Args),
    /// Talk with a trained variant about pictures.
    #[command(long_about = commands::chat::LONG_ABOUT)]
    Chat(commands::chat::Args),
    /// Answer requests of OpenAI's clients, and of a page in a browser, with a trained variant.
    #[command(long_about = commands::serve::LONG_ABOUT)]
    Serve(commands::serve::Args),
    /// Find every mistake in recipes without running them.
    #[command(long_about = commands::check::LONG_ABOUT)]
    Check(commands::check::Args),
    /// Prove for every edge that what runs is what the recipe says.
    #[command(long_about = commands::verify::LONG_ABOUT)]
    Verify(commands::verify::Args),
    /// Print the resolved recipe with the origin of every value.
    #[command(long_about = commands::resolve::LONG_ABOUT)]
    Resolve(commands::resolve::Args),
    /// Say what a recipe costs before anything runs.
    #[command(long_about = commands::explain::LONG_ABOUT)]
    Explain(commands::explain::Args),
    /// Say what differs between two recipes, or two variants of one.
    #[command(long_about = commands::diff::LONG_ABOUT)]
    Diff(commands::diff::Args),
    /// Show a recipe as a graph, at any stage of the compiler.
    #[command(long_about = commands::graph::LONG_ABOUT)]
    Graph(commands::graph::Args),
    /// Keep the stages of a recipe in a folder, and check that they are as kept.
    #[command(long_about = commands::snapshot::LONG_ABOUT)]
    Snapshot(commands::snapshot::Args),
    /// Compile a recipe and show how long each pass takes.
    #[command(long_about = commands::compile::LONG_ABOUT)]
    Compile(commands::compile::Args),
    /// List, inspect and compare runs.
    #[command(long_about = commands::runs::LONG_ABOUT)]
    Runs(commands::runs::Args),
    /// List and fetch data sets.
    #[command(long_about = commands::data::LONG_ABOUT)]
    Data(commands::data::Args),
    /// List, show and copy the recipes that come with crossloom.
    #[command(long_about = commands::recipe::LONG_ABOUT)]
    Recipe(commands::recipe::Args),
    /// Look into pretrained models.
    #[command(long_about = commands::model::LONG_ABOUT)]
    Model(commands::model::Args),
    /// Print the JSON Schema of recipe files, for editors.
    #[command(long_about = commands::schema::LONG_ABOUT)]
    Schema(commands::schema::Args),
    /// Show versions, processor, memory, and what is missing on this machine.
    #[command(long_about = commands::doctor::LONG_ABOUT)]
    Doctor(commands::doctor::Args),
    /// Print a completion script for a shell.
    #[command(long_about = commands::completions::LONG_ABOUT)]
    Completions(commands::completions::Args),
}

impl Verb {
    fn run(&self, terminal: &Terminal) -> Result<ExitCode, CliError> {
        match self {
            Self::Run(args) => commands::run::run(args, terminal),
            Self::Train(args) => commands::train::run(args, terminal),
            Self::Eval(args) => commands::eval::run(args, terminal),
            Self::Generate(args) => commands::generate::run(args, terminal),
            Self::Chat(args) => commands::chat::run(args, terminal),
            Self::Serve(args) => commands::serve::run(args, terminal),
            Self::Check(args) => commands::check::run(args, terminal),
            Self::Verify(args) => commands::verify::run(args, terminal),
            Self::Resolve(args) => commands::resolve::run(args, terminal),
            Self::Explain(args) => commands::explain::run(args, terminal),
            Self::Diff(args) => commands::diff::run(args, terminal),
            Self::Graph(args) => commands::graph::run(args, terminal),
            Self::Snapshot(args) => commands::snapshot::run(args, terminal),
            Self::Compile(args) => commands::compile::run(args, terminal),
            Self::Runs(args) => commands::runs::run(args, terminal),
            Self::Data(args) => commands::data::run(args, terminal),
            Self::Recipe(args) => commands::recipe::run(args, terminal),
            Self::Model(args) => commands::model::run(args, terminal),
            Self::Schema(args) => commands::schema::run(args, terminal),
            Self::Doctor(args) => commands::doctor::run(args, terminal),
            Self::Completions(args) => commands::completions::run(args, terminal),
        }
    }
}

/// Parses the arguments of this process, does what they say, and gives the exit code. Wrong arguments end the process
/// with code 2, as `--help` and `--version` end it with 0, or with 1 where they cannot be written.
pub fn main() -> ExitCode {
    let (terminal, ended) = match Cli::try_parse() {
        Ok(cli) => {
            let terminal = Terminal::new(cli.quiet);
            let ended = cli.verb.run(&terminal);
            (terminal, ended)
        }
        Err(answer) if answer.use_stderr() => answer.exit(),
        Err(answer) => {
            let written = answer.print().and_then(|()| std::io::stdout().flush());
            (Terminal::new(false), written.map(|()| ExitCode::SUCCESS).map_err(CliError::from))
        }
    };
    match ended {
        Ok(code) => code,
        Err(error) => {
            terminal.error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

#[cfg(test)]
mod tests;
