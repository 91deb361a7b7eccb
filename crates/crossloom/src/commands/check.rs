//! `check`: every mistake in recipes, without running them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use crossloom_data::conversations::Survey;
use crossloom_data::datasets::{DatasetManifest, SplitManifest};
use crossloom_data::records::Spread;
use crossloom_recipe::{Diagnostic, LoadOptions, LoadedRecipe, Recipe, Topology, load_with};
use crossloom_run::backends::Backend;
use crossloom_run::memory::{Expected, Limit, Need, expected, fits_here};
use crossloom_run::stages::Shapes;
use crossloom_run::start::architecture;
use crossloom_run::{Data, DataSets, ExperimentError, located, survey};
use serde::Serialize;

use crate::cli::{BackendArgs, CliError, Terminal, counted};

/// What the verb is for.
pub(crate) const LONG_ABOUT: &str = "\
Find every mistake in recipes without running them: syntax, unknown and misplaced keys, wrong types and \
ranges, addresses beyond a model's depth, wiring that does not fit, dimensions that do not divide.";

const AFTER_HELP: &str = "\
Examples:
  $ crossloom check recipes/quickstart.toml
  $ crossloom check recipes/quickstart.toml recipes/synthetic.toml
  $ crossloom check recipes/quickstart.toml --set topology.adapter.rank=4
  $ crossloom check recipes/quickstart.toml --json
  $ crossloom check recipes/quickstart.toml --data

All mistakes of a recipe are reported at once, each with its file, its line and a hint. The exit code is 2 if there is \
one; warnings do not change it.";

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct Args {
    /// The recipes, TOML files.
    #[arg(required = true, value_name = "RECIPE", value_hint = clap::ValueHint::FilePath)]
    recipes: Vec<PathBuf>,
    /// Override a setting in all of them, as in `--set train.steps=100`; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    #[command(flatten)]
    backend: BackendArgs,
    /// Read the data too, as a run would: every picture is decoded, and every question fits a sequence. What the recipe names is fetched.
    #[arg(long)]
    data: bool,
    /// Write one JSON document: variants and edges of good recipes, diagnostics of all.
    #[arg(long)]
    json: bool,
}

/// One recipe as `check --json` reports it.
#[derive(Serialize)]
struct Checked {
    path: String,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    variants: Vec<CheckedVariant>,
    /// With `--data`: the sets of all variants and stages, or why they cannot be trained on.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<CheckedData>,
    diagnostics: Vec<Diagnostic>,
}

/// What reading the data of a recipe says.
#[derive(Serialize)]
struct CheckedData {
    sets: Vec<DatasetManifest>,
    /// What every sample of conversations says, of each kind of rows that they are read for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    conversations: Vec<Survey>,
    /// What is to be minded, such as samples that are left out.
    notes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

#[derive(Serialize)]
struct CheckedVariant {
    name: String,
    baseline: bool,
    /// Names of all edges, the input's first.
    edges: Vec<String>,
    /// Names of its stages, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stages: Vec<String>,
    /// Bytes that a run holds at once, by purpose, but for the process itself: those of its largest stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<Need>,
    /// What is to be minded before it is run: it does not fit this machine, or does not compile.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// Checks every recipe, good ones and bad ones.
///
/// # Errors
/// Standard output cannot be written. Mistakes in recipes are reported, and are no error of this function.
pub fn run(args: &Args, terminal: &Terminal) -> Result<ExitCode, CliError> {
    let options = LoadOptions { sets: args.sets.clone() };
    let mut checked = Vec::with_capacity(args.recipes.len());
    for path in &args.recipes {
        let shown = path.display().to_string();
        checked.push(match load_with(path, &options, &architecture) {
            Ok(loaded) => {
                let loaded = located(loaded)?;
                let mut checked = good(shown, &loaded, args.backend.backend)?;
                if args.data {
                    let data = of_data(&loaded);
                    checked.ok &= data.problem.is_none();
                    checked.data = Some(data);
                }
                checked
            }
            Err(diagnostics) => Checked {
                path: shown,
                ok: false,
                name: None,
                hash: None,
                variants: Vec::new(),
                data: None,
                diagnostics: diagnostics.list,
            },
        });
    }
    let ok = checked.iter().all(|recipe| recipe.ok);
    if args.json {
        terminal.json(&serde_json::json!({ "ok": ok, "recipes": checked }))?;
    } else {
        for recipe in &checked {
            say(recipe, terminal)?;
        }
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

fn good(path: String, loaded: &LoadedRecipe, backend: Backend) -> Result<Checked, CliError> {
    let mut variants = Vec::with_capacity(loaded.variants.len());
    let mut ok = true;
    for variant in &loaded.variants {
        let topology = Topology::new(&variant.recipe).map_err(CliError::failed)?;
        let edges = topology.edges().iter().map(crossloom_recipe::Edge::name).collect();
        // A run computes values again where it would not fit otherwise.
        let left = Limit::tightest().map(|limit| limit.left);
        let (name, baseline) = (variant.name.clone(), variant.baseline);
        let (mut memory, mut problem): (Option<Need>, Option<String>) = (None, None);
        for recipe in variant.recipe.by_stage() {
            let compiled = Shapes::of_stage(&variant.recipe, &recipe)
                .and_then(|shapes| expected(&recipe, shapes, backend, left));
            let found = match compiled {
                Ok(Expected { need, .. }) => {
                    let found = fits_here(&need).err().map(|error| format!("{error} ({})", error.help()));
                    if memory.as_ref().is_none_or(|known| known.total() < need.total()) {
                        memory = Some(need);
                    }
                    found
                }
                Err(error) => {
                    ok &= !error.is_mistake();
                    Some(error.to_string())
                }
            };
            let found = found.map(|found| match recipe.stage() {
                Some(stage) => format!("in stage `{stage}`: {found}"),
                None => found,
            });
            problem = problem.or(found);
        }
        let stages = variant.recipe.stages.iter().map(|stage| stage.name.clone()).collect();
        variants.push(CheckedVariant { name, baseline, edges, stages, memory, problem });
    }
    Ok(Checked {
        path,
        ok,
        name: Some(loaded.base.name.clone()),
        hash: Some(loaded.content_hash()),
        variants,
        data: None,
        diagnostics: loaded.warnings.clone(),
    })
}

/// Reads the data of a recipe with located paths, and lays all of it out.
fn of_data(loaded: &LoadedRecipe) -> CheckedData {
    let folder = loaded.path.parent().unwrap_or(Path::new("."));
    let sets = match DataSets::of_variants(&loaded.variants, folder, &AtomicBool::new(false), &mut |_| {}) {
        Ok(sets) => sets,
        Err(error) => {
            return CheckedData {
                sets: Vec::new(),
                conversations: Vec::new(),
                notes: Vec::new(),
                problem: Some(error.to_string()),
            };
        }
    };
    let trainings = || loaded.variants.iter().flat_map(|variant| variant.recipe.by_stage());
    let mut surveys = Vec::new();
    let mut read = |recipe: &Recipe| -> Result<(), ExperimentError> {
        let data = sets.of(recipe)?;
        data.plan(recipe)?;
        if let Some(survey) = survey(recipe, data)?
            && !surveys.contains(&survey)
        {
            surveys.push(survey);
        }
        Ok(())
    };
    let problem = trainings().find_map(|recipe| read(&recipe).err());
    CheckedData {
        sets: sets.iter().map(Data::manifest).collect(),
        conversations: surveys,
        notes: sets.iter().flat_map(|data| data.notes().to_vec()).collect(),
        problem: problem.map(|error| match error.help() {
            Some(help) => format!("{error} ({help})"),
            None => error.to_string(),
        }),
    }
}

fn say(recipe: &Checked, terminal: &Terminal) -> Result<(), CliError> {
    for diagnostic in &recipe.diagnostics {
        terminal.problem(&format!("{diagnostic}\n\n"));
    }
    for variant in &recipe.variants {
        if let Some(problem) = &variant.problem {
            terminal.problem(&format!("warning: variant `{}` {problem}\n\n", variant.name));
        }
    }
    for note in recipe.data.iter().flat_map(|data| &data.notes) {
        terminal.problem(&format!("warning: {note}\n\n"));
    }
    if let Some(problem) = recipe.data.as_ref().and_then(|data| data.problem.as_ref()) {
        terminal.problem(&format!("error: the data of `{}` cannot be trained on: {problem}", recipe.path));
        return Ok(());
    }
    if recipe.ok {
        let variants: Vec<String> = (recipe.variants.iter())
            .map(|variant| {
                let stages = match &variant.stages[..] {
                    [] => String::new(),
                    stages => format!(", stages {}", stages.join(", ")),
                };
                format!("{} ({}{stages})", variant.name, counted(variant.edges.len(), "edge"))
            })
            .collect();
        terminal.print(&format!("ok {}: {}", recipe.path, variants.join(", ")))?;
        for set in recipe.data.iter().flat_map(|data| &data.sets) {
            let split = |split: &SplitManifest| match split.images {
                0 => counted(split.examples, "sample"),
                _ => format!(
                    "{} about {}",
                    counted(split.examples, "question"),
                    counted(split.images, "picture")
                ),
            };
            let (train, test) = (split(&set.train), split(&set.test));
            terminal.print(&format!("   {}: {train} to train on, {test} to test", set.name))?;
        }
        for survey in recipe.data.iter().flat_map(|data| &data.conversations) {
            terminal.print(&format!("   {}", surveyed(survey)))?;
        }
        Ok(())
    } else {
        let errors = crossloom_recipe::Diagnostics { list: recipe.diagnostics.clone() }.errors();
        terminal.problem(&format!("error: `{}` cannot be used: {}", recipe.path, counted(errors, "error")));
        Ok(())
    }
}

/// What reading all conversations has shown.
fn surveyed(survey: &Survey) -> String {
    let Survey { samples, left_out, truncated, by_pictures, by_bucket, tokens, learned, .. } = survey;
    let pictures: Vec<String> = by_pictures
        .iter()
        .map(|(pictures, samples)| format!("{samples} with {}", counted(*pictures, "picture")))
        .collect();
    let buckets: Vec<String> = by_bucket.iter().map(u64::to_string).collect();
    let Spread { least, median, most } = tokens.unwrap_or(Spread { least: 0, median: 0, most: 0 });
    format!(
        "{samples} conversations ({}), {left_out} left out, {truncated} losing turns; {least} to {most} tokens, half of them up to \
         {median}, {learned} learned in all; by length of rows: {}",
        pictures.join(", "),
        buckets.join(", ")
    )
}
