//! `graph`: a recipe at any stage of the compiler.

use std::process::ExitCode;

use serde_json::{Map, Value, json};

use crate::cli::{BackendArgs, CliError, RecipeArgs, Terminal, VariantArgs, VerifyArgs, choice};
use crossloom_recipe::{Recipe, Variant};
use crossloom_run::stages::{Depth, Format, Mode, Shapes, Stage, Subject, render};

/// What the verb is for.
pub(crate) const LONG_ABOUT: &str = "\
Show a recipe as a graph: its topology, the luminal graph it becomes, the IR lifted from it, the IR after \
all passes, the plan of kernels and memory, or its kernels as CUDA C. Nothing is run.";

const AFTER_HELP: &str = "\
Examples:
  $ crossloom graph recipes/quickstart.toml
  $ crossloom graph recipes/quickstart.toml --variant cli --format svg > topology.svg
  $ crossloom graph recipes/quickstart.toml --variant cli --stage luminal --format mermaid
  $ crossloom graph recipes/quickstart.toml --variant cli --stage fused --mode train
  $ crossloom graph recipes/quickstart.toml --variant cli --stage plan --mode decode
  $ crossloom graph recipes/quickstart.toml --variant cli --stage plan --format svg > plan.svg
  $ crossloom graph recipes/quickstart.toml --stage plan --format json
  $ crossloom graph recipes/quickstart.toml --variant cli --stage cuda > step.cu

Every stage has every form. Pictures of the stages after the topology have a box for each scope, such as \
vision.block.0, and edges that say how many values go from box to box; of a plan also how many bytes. --depth says how \
many parts of a scope are told apart; --depth all draws every operation. Without --variant, text shows every variant \
under a comment line and json has all of them; pictures need --variant where the recipe has several.

Questions are answered in four phases, each a graph of its own: `encode` and `connect` for pictures, `prefill` for prompts, \
`decode` for every further token.

No data is fetched. Batches have the sizes that a run would measure: synthetic data is drawn, of easy-VQA they are known.";

/// Arguments of `graph`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    #[command(flatten)]
    variant: VariantArgs,
    /// How far along the road from recipe to kernels.
    #[arg(long, value_parser = choice(&Stage::ALL, Stage::name, Stage::about), default_value = "topology")]
    stage: Stage,
    /// Of a recipe with stages, the one whose training is shown. Default: the last.
    #[arg(long, value_name = "NAME")]
    training: Option<String>,
    /// How it is written.
    #[arg(long, value_parser = choice(&Format::ALL, Format::name, Format::about), default_value = "text")]
    format: Format,
    /// What the model is built for.
    #[arg(long, value_parser = choice(&Mode::ALL, Mode::name, Mode::about), default_value = "train")]
    mode: Mode,
    /// How many parts of a scope's path a picture tells apart, or `all` for every operation.
    #[arg(long, value_name = "PARTS", default_value = "3", value_parser = depth)]
    depth: Depth,
    #[command(flatten)]
    sizes: SizeArgs,
    #[command(flatten)]
    backend: BackendArgs,
    #[command(flatten)]
    verify: VerifyArgs,
}

/// A number of parts, or all.
fn depth(text: &str) -> Result<Depth, String> {
    match text.parse() {
        Ok(parts @ 1..=16) => Ok(Depth::Scopes(parts)),
        _ if text == "all" => Ok(Depth::Nodes),
        _ => Err("a number from 1 to 16, or `all`".to_owned()),
    }
}

/// Sizes that are otherwise those of a run.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct SizeArgs {
    /// Positions of a sequence, in place of what a run would measure.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    tokens: Option<u32>,
    /// Words of the vocabulary, in place of what a run would measure.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(2..))]
    vocab: Option<u32>,
}

impl SizeArgs {
    /// The sizes for a recipe.
    ///
    /// # Errors
    /// They do not fit the recipe.
    pub fn of(self, recipe: &Recipe) -> Result<Shapes, CliError> {
        self.of_stage(recipe, recipe)
    }

    /// The sizes for a stage of a recipe.
    ///
    /// # Errors
    /// They do not fit the recipe.
    pub fn of_stage(self, whole: &Recipe, recipe: &Recipe) -> Result<Shapes, CliError> {
        let count = |count: Option<u32>| count.map(|count| count as usize);
        let measured = match self.tokens {
            // A length that is given need not be measured first, and the measured one may be too long.
            Some(_) if self.vocab.is_some() => Shapes::unmeasured(recipe),
            _ => Shapes::of_stage(whole, recipe)?,
        };
        Ok(measured.with(recipe, count(self.tokens), count(self.vocab))?)
    }
}

/// The stage of that name of a recipe with stages.
fn of_training(variant: &Variant, name: &str) -> Result<Recipe, CliError> {
    let stages = variant.recipe.by_stage();
    let names: Vec<String> = stages.iter().filter_map(|recipe| recipe.stage().map(str::to_owned)).collect();
    let found = stages.into_iter().find(|recipe| recipe.stage() == Some(name));
    found.ok_or_else(|| {
        let message = format!("variant `{}` has no stage `{name}`", variant.name);
        let help = if names.is_empty() {
            "it is trained once: leave --training out".to_owned()
        } else {
            format!("it has {}", names.join(", "))
        };
        CliError::usage(message, help)
    })
}

/// Prints a stage of a recipe.
///
/// # Errors
/// The recipe cannot be used or does not get that far.
pub fn run(args: &Args, terminal: &Terminal) -> Result<ExitCode, CliError> {
    let Args { stage, format, mode, depth, .. } = *args;
    let loaded = args.recipe.load(terminal)?;
    let variants = match format {
        Format::Text | Format::Json => args.variant.choose(&loaded)?,
        Format::Mermaid | Format::Dot | Format::Svg => vec![args.variant.only(&loaded)?],
    };
    let mut graphs = Vec::with_capacity(variants.len());
    for variant in variants {
        let staged = args.training.as_ref().map(|name| of_training(variant, name)).transpose()?;
        let recipe = staged.as_ref().unwrap_or(&variant.recipe);
        let shapes = match stage {
            Stage::Topology => Shapes::unmeasured(recipe),
            _ => args.sizes.of_stage(&variant.recipe, recipe)?,
        };
        let verify = args.verify.verify;
        let subject =
            Subject { name: &variant.name, recipe, shapes, mode, backend: args.backend.backend, verify };
        graphs.push((&variant.name, render(&subject, stage, format, depth)?));
    }
    if format == Format::Json {
        let mut by_name = Map::new();
        for (name, graph) in graphs {
            let graph: Value = serde_json::from_str(&graph).map_err(CliError::failed)?;
            by_name.insert(name.clone(), graph);
        }
        let path = args.recipe.recipe.display().to_string();
        terminal.json(
            &json!({ "recipe": path, "stage": stage.name(), "mode": mode.name(), "variants": by_name }),
        )?;
    } else if let [(_, graph)] = &graphs[..] {
        terminal.print(graph)?;
    } else {
        let texts: Vec<String> =
            graphs.iter().map(|(name, graph)| format!("; variant {name}\n{graph}")).collect();
        terminal.print(&texts.join("\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}
