//! `explain`: what a recipe costs before anything runs.

mod text;

use std::process::ExitCode;

use bytesize::ByteSize;
use serde_json::json;

use super::graph::SizeArgs;
use crate::cli::{BackendArgs, CliError, Pick, RecipeArgs, Terminal, VariantArgs};
use crossloom_recipe::{Diagnostics, LoadOptions, LoadedRecipe, Variant, load_with};
use crossloom_run::memory::{Limit, fits_here};
use crossloom_run::stages::{Budget, Explained, Mode, Subject, explain, figures, trace_edge, within};
use crossloom_run::start::architecture;
use crossloom_run::{ExperimentError, located};

pub(super) use self::text::figure_table;
use self::text::{budget_text, most, text, title, trace_text};

/// What the verb is for.
pub(crate) const LONG_ABOUT: &str = "\
Say what every variant of a recipe costs before anything runs: parameters, FLOPs and bytes by part of the model for a training \
step, for reading prompts and for one more token; peak memory by purpose in f32 and in bf16; what each edge costs; what each pass \
of the compiler did, which kernels were chosen, and what the injection adds to the same model without it.";

const AFTER_HELP: &str = "\
Examples:
  $ crossloom explain recipes/quickstart.toml
  $ crossloom explain recipes/quickstart.toml --variant cli --depth 3
  $ crossloom explain recipes/synthetic.toml --why \"block.1->layer.0\"
  $ crossloom explain recipes/quickstart.toml --set topology.adapter.rank=32 --json
  $ crossloom explain recipes/quickstart.toml --variant cli --budget 100MiB
  $ crossloom explain recipes/quickstart.toml --variant cli --against projector

A recipe with stages is explained stage by stage. Memory is that of the compiled plan, not an estimate. FLOPs count a multiply-add as two. The edges of a recipe are \
listed by `crossloom graph RECIPE`; quote them in a shell.";

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    #[command(flatten)]
    variant: VariantArgs,
    /// How many parts of a scope's path are told apart in the table of costs.
    #[arg(long, value_name = "PARTS", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    depth: u8,
    /// Say which nodes an edge of the topology became, as in `--why "block.1->layer.0"`.
    #[arg(long, value_name = "EDGE")]
    why: Option<String>,
    /// Say beside every variant what another one costs: RECIPE, RECIPE/VARIANT, or another variant of this recipe.
    #[arg(long, value_name = "RECIPE[/VARIANT]|VARIANT", conflicts_with = "why", value_hint = clap::ValueHint::FilePath)]
    against: Option<String>,
    /// What a run may hold besides the process itself, such as 24GiB: says whether it fits and which settings would make it fit, each
    /// tried. A training step that needs more computes values again.
    #[arg(long, value_name = "SIZE")]
    budget: Option<ByteSize>,
    #[command(flatten)]
    sizes: SizeArgs,
    #[command(flatten)]
    backend: BackendArgs,
    /// Write one JSON document.
    #[arg(long)]
    json: bool,
}

/// Explains every variant, or one edge.
///
/// # Errors
/// The recipe cannot be used, built or compiled; it has no such edge.
pub fn run(args: &Args, terminal: &Terminal) -> Result<ExitCode, CliError> {
    let loaded = args.recipe.load(terminal)?;
    let path = args.recipe.recipe.display().to_string();
    let variants = args.variant.choose(&loaded)?;
    let backend = args.backend.backend;
    if let Some(edge) = &args.why {
        let mut traces = Vec::new();
        let mut missing: Option<ExperimentError> = None;
        for variant in variants {
            let recipe = &variant.recipe;
            let shapes = args.sizes.of(recipe)?;
            let (name, mode) = (variant.name.as_str(), Mode::Train);
            let subject = Subject { name, recipe, shapes, mode, backend, verify: false };
            match trace_edge(&subject, edge) {
                Ok(trace) => traces.push((variant.name.as_str(), trace)),
                // Other variants may have it; of those that do not, the one with the most edges has the most to say.
                Err(error @ ExperimentError::Request { .. }) => {
                    let said = |error: &ExperimentError| error.help().map_or(0, str::len);
                    if missing.as_ref().is_none_or(|missing| said(missing) < said(&error)) {
                        missing = Some(error);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        if traces.is_empty()
            && let Some(error) = missing
        {
            return Err(error.into());
        }
        if args.json {
            let by_name: serde_json::Map<_, _> =
                traces.iter().map(|(name, trace)| ((*name).to_owned(), json!(trace))).collect();
            terminal.json(&json!({ "recipe": path, "edge": edge, "variants": by_name }))?;
        } else {
            let texts: Vec<String> = traces.iter().map(|(name, trace)| trace_text(name, trace)).collect();
            terminal.print(&texts.join("\n"))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut shown = Vec::with_capacity(variants.len());
    for variant in variants {
        shown.extend(stages(args, &loaded, variant)?);
    }
    let against = match &args.against {
        Some(word) => {
            let beside = Pick::of(args.recipe.clone(), loaded.clone());
            let other = Pick::new(word, &args.recipe.sets, Some(&beside), terminal)?;
            Some(stages(args, &other.loaded, other.variant()?)?)
        }
        None => None,
    };
    for Shown { explained, .. } in &shown {
        let within =
            args.budget.map_or(Ok(()), |budget| explained.run.check(&[Limit::budget(budget.as_u64())]));
        if let Err(error) = within.and_then(|()| fits_here(&explained.run)) {
            terminal.note(&format!("variant `{}` {error} ({})", title(explained), error.help()));
        }
    }
    // The last stage of the other stands for it.
    let other = against.as_ref().and_then(|stages| stages.last()).map(|shown| &shown.explained);
    let beside = |explained: &Explained| other.map(|other| figures(other, explained));
    if args.json {
        let variants = shown.iter().map(|Shown { explained, budget }| {
            let mut document = json!(explained);
            if let Some(fields) = document.as_object_mut() {
                fields.extend(budget.as_ref().map(|budget| ("budget".to_owned(), json!(budget))));
                fields.extend(beside(explained).map(|figures| ("against".to_owned(), json!(figures))));
            }
            document
        });
        let variants: Vec<serde_json::Value> = variants.collect();
        terminal.json(&json!({ "recipe": path, "variants": variants, "against": other }))?;
    } else {
        let mut texts: Vec<String> = Vec::new();
        for Shown { explained, budget } in &shown {
            let mut said = text(explained);
            said.extend(budget.as_ref().map(budget_text));
            if let (Some(figures), Some(other)) = (beside(explained), other) {
                said.push_str(&format!(
                    "\n  first: {}; second: {}\n{}",
                    title(other),
                    title(explained),
                    figure_table(&figures)
                ));
            }
            texts.push(said);
        }
        let explained: Vec<&Explained> = shown.iter().map(|shown| &shown.explained).collect();
        texts.extend(most(&explained));
        terminal.print(&texts.join("\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is said of a stage of a variant.
struct Shown {
    explained: Explained,
    budget: Option<Budget>,
}

/// Explains the stages of a variant.
fn stages(args: &Args, loaded: &LoadedRecipe, variant: &Variant) -> Result<Vec<Shown>, CliError> {
    let (backend, depth) = (args.backend.backend, usize::from(args.depth));
    let budget = args.budget.map(|size| size.as_u64());
    let mut shown = Vec::new();
    for recipe in variant.recipe.by_stage() {
        let shapes = args.sizes.of_stage(&variant.recipe, &recipe)?;
        let explained = explain(&variant.name, &recipe, shapes, depth, backend, budget)?;
        let stage = recipe.stage();
        let mut changed = |sets: &[String]| {
            let stage = stage.map(|stage| format!("stage.{stage}.")).unwrap_or_default();
            let of =
                if loaded.variants.len() > 1 { format!("variants.{}.", variant.name) } else { String::new() };
            let sets =
                args.recipe.sets.iter().cloned().chain(sets.iter().map(|set| format!("{of}{stage}{set}")));
            let options = LoadOptions { sets: sets.collect() };
            let loaded = load_with(&loaded.path, &options, &architecture).map_err(refused)?;
            let loaded = located(loaded).map_err(|error| error.to_string())?;
            let whole = loaded.variant(&variant.name).map(|variant| variant.recipe.clone());
            let whole = whole.ok_or_else(|| "the variant is gone".to_owned())?;
            let mut stages = whole.by_stage().into_iter();
            let recipe = stages.find(|recipe| recipe.stage() == recipe_stage(&explained));
            let recipe = recipe.ok_or_else(|| "the stage is gone".to_owned())?;
            let shapes = args.sizes.of_stage(&whole, &recipe).map_err(|error| error.to_string())?;
            Ok((recipe, shapes))
        };
        let budget = budget.map(|bytes| within(bytes, &recipe, shapes, backend, &mut changed)).transpose()?;
        shown.push(Shown { explained, budget });
    }
    Ok(shown)
}

/// Why a recipe with other settings is none, in one line.
fn refused(found: Diagnostics) -> String {
    found.list.into_iter().map(|found| found.message).next().unwrap_or_default()
}

fn recipe_stage(explained: &Explained) -> Option<&str> {
    explained.stage.as_deref()
}
