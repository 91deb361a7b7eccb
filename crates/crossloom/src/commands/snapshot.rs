//! `snapshot`: the stages of a recipe, kept in a folder of its repository.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::graph::SizeArgs;
use crate::cli::{BackendArgs, CliError, RecipeArgs, Terminal, VariantArgs, counted};
use crossloom_run::cells::standing_for_seeds;
use crossloom_run::stages::{
    ChangedSnapshot, Compared, Mode, ScopeChange, SnapshotFolder, Subject, snapshots,
};

/// What the verb is for.
pub(crate) const LONG_ABOUT: &str = "\
Write the topology, the luminal graph and the fused IR of every variant of a recipe into a folder, to be kept in your repository: \
a change of the wiring then shows in its review. `--check` fails where one of them is another than the one that is kept, and says \
scope by scope what is.";

const AFTER_HELP: &str = "\
Examples:
  $ crossloom snapshot my.toml --into graphs
  $ crossloom snapshot my.toml --into graphs --check
  $ crossloom snapshot my.toml --into graphs --accept

--check is for continuous integration, --accept for after reading what changed. Files are insta's: where a stage changed, its new text lies beside the old one as `.snap.new`, and `cargo insta review` shows and \
accepts it, as --accept does for all at once. Of variants that differ in seeds only, one stands for all, under their name without the seed.";

/// Lines of one file that are told.
const TOLD: usize = 24;

/// Arguments of `snapshot`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    #[command(flatten)]
    variant: VariantArgs,
    /// The folder of the snapshots.
    #[arg(long, value_name = "FOLDER", value_hint = clap::ValueHint::DirPath)]
    into: PathBuf,
    /// Write nothing; fail where something is another than what is kept.
    #[arg(long, conflicts_with = "accept")]
    check: bool,
    /// Write what changed in place of what was kept, and remove what no variant stands behind.
    #[arg(long)]
    accept: bool,
    #[command(flatten)]
    sizes: SizeArgs,
    #[command(flatten)]
    backend: BackendArgs,
    /// Write one JSON document.
    #[arg(long)]
    json: bool,
}

/// Writes or checks the snapshots of a recipe.
///
/// # Errors
/// The recipe cannot be used or compiled; a file cannot be read or written; with `--check`, something is another.
pub fn run(args: &Args, terminal: &Terminal) -> Result<ExitCode, CliError> {
    let loaded = args.recipe.load(terminal)?;
    let stem = args.recipe.recipe.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
    let mut now = Vec::new();
    for (name, variant) in standing_for_seeds(&args.variant.choose(&loaded)?) {
        let (name, recipe) = (&name, &variant.recipe);
        let shapes = args.sizes.of(recipe)?;
        let (mode, backend) = (Mode::Forward, args.backend.backend);
        let subject = Subject { name, recipe, shapes, mode, backend, verify: false };
        now.extend(snapshots(&stem, &subject)?);
    }
    let source = args.recipe.recipe.display().to_string();
    let folder = SnapshotFolder { folder: &args.into, source: &source };
    let mut compared = if args.check { folder.compare(&now)? } else { folder.write(&now, args.accept)? };
    if args.variant.variant.is_some() {
        // Those of the other variants were not asked about.
        compared.stale.clear();
    }
    if args.json {
        terminal.json(&json!({ "folder": args.into.display().to_string(), "compared": compared }))?;
    } else {
        terminal.print(&text(args, &compared))?;
    }
    if !args.check || compared.is_same() {
        return Ok(ExitCode::SUCCESS);
    }
    let differing = compared.missing.len() + compared.changed.len() + compared.stale.len();
    Err(CliError::Failed {
        message: format!("{} not as kept in {}", counted(differing, "snapshot"), args.into.display()),
        help: Some(format!(
            "if it is meant, run `crossloom snapshot {source} --into {} --accept` and keep the files",
            args.into.display()
        )),
    })
}

fn text(args: &Args, compared: &Compared) -> String {
    let mut text = format!("{}: {} as kept\n", args.into.display(), compared.same);
    let (missing, changed, stale) = if args.check {
        ("is missing", "is another", "has no variant behind it")
    } else if args.accept {
        ("written", "written anew", "removed")
    } else {
        ("written", "is another: its new text lies beside it", "has no variant behind it")
    };
    for file in &compared.missing {
        text.push_str(&format!("  {file}: {missing}\n"));
    }
    for change in &compared.changed {
        text.push_str(&format!("  {}: {changed}\n{}", change.file, changes(change)));
    }
    for file in &compared.stale {
        text.push_str(&format!("  {file}: {stale}\n"));
    }
    text
}

/// What changed, a line each, up to a number of lines.
fn changes(change: &ChangedSnapshot) -> String {
    let mut lines: Vec<String> = change.scopes.iter().flat_map(scope).collect();
    for (kept, now) in &change.lines {
        lines.extend([format!("    - {kept}"), format!("    + {now}")]);
    }
    let more = lines.len().saturating_sub(TOLD);
    lines.truncate(TOLD);
    if more > 0 {
        lines.push(format!("    … and {} more", counted(more, "line")));
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

fn scope(change: &ScopeChange) -> Vec<String> {
    let mut lines = vec![format!("    {}", change.scope)];
    for (mark, side) in [('-', &change.removed), ('+', &change.added)] {
        lines.extend(side.iter().map(|(line, count)| match count {
            1 => format!("      {mark} {line}"),
            count => format!("      {mark} {count} × {line}"),
        }));
    }
    lines
}
