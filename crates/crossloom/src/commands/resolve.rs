//! `resolve`: what a recipe says after everything is merged.

use std::process::ExitCode;

use serde_json::{Map, json};

use crate::cli::{CliError, RecipeArgs, Terminal, VariantArgs};

/// What the verb is for.
pub(crate) const LONG_ABOUT: &str = "\
Print a variant with `extends`, presets, defaults and overrides merged, each value with a comment that says \
where it comes from and what it overrode.";

const AFTER_HELP: &str = "\
Examples:
  $ crossloom resolve recipes/synthetic.toml --variant cli
  $ crossloom resolve recipes/synthetic.toml --variant cli --set topology.adapter.rank=8
  $ crossloom resolve recipes/synthetic.toml --json

The output is itself a recipe: loading it gives the same experiment.";

/// Arguments of `resolve`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    #[command(flatten)]
    variant: VariantArgs,
    /// Write one JSON document with every variant, its values and their origins.
    #[arg(long)]
    json: bool,
}

/// Prints a resolved variant.
///
/// # Errors
/// The recipe cannot be used, or has several variants and none was named.
pub fn run(args: &Args, terminal: &Terminal) -> Result<ExitCode, CliError> {
    let loaded = args.recipe.load(terminal)?;
    if args.json {
        let variants: Map<_, _> = (args.variant.choose(&loaded)?.into_iter())
            .map(|variant| {
                let resolved = json!({
                    "description": variant.description,
                    "baseline": variant.baseline,
                    "hash": variant.recipe.content_hash(),
                    "recipe": variant.recipe,
                    "origins": variant.provenance,
                });
                (variant.name.clone(), resolved)
            })
            .collect();
        let files: Vec<String> = loaded.files.iter().map(|file| file.display().to_string()).collect();
        let document = json!({
            "recipe": args.recipe.recipe.display().to_string(),
            "hash": loaded.content_hash(),
            "files": files,
            "variants": variants,
        });
        terminal.json(&document)?;
    } else {
        terminal.print(&args.variant.only(&loaded)?.resolved_toml_with_provenance())?;
    }
    Ok(ExitCode::SUCCESS)
}
