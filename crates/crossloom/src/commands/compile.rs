//! `compile`: the whole compiler, timed.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use super::graph::SizeArgs;
use crate::cli::{
    BackendArgs, CliError, RecipeArgs, Table, Terminal, VariantArgs, VerifyArgs, bytes, choice, duration,
};
use crossloom_run::stages::{Mode, Program, Subject, program};

/// What the verb is for.
pub(crate) const LONG_ABOUT: &str = "\
Compile every variant of a recipe and show the time of each pass, the kernels and the memory of the plan. \
Nothing is run or written.";

const AFTER_HELP: &str = "\
Examples:
  $ crossloom compile recipes/quickstart.toml
  $ crossloom compile recipes/quickstart.toml --variant cli --mode forward
  $ crossloom compile recipes/quickstart.toml --verify
  $ crossloom compile recipes/quickstart.toml --json";

/// Arguments of `compile`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    #[command(flatten)]
    variant: VariantArgs,
    /// What the model is built for.
    #[arg(long, value_parser = choice(&Mode::ALL, Mode::name, Mode::about), default_value = "train")]
    mode: Mode,
    #[command(flatten)]
    sizes: SizeArgs,
    #[command(flatten)]
    backend: BackendArgs,
    #[command(flatten)]
    verify: VerifyArgs,
    /// Write one JSON document; times are in seconds.
    #[arg(long)]
    json: bool,
}

/// Compiles every variant.
///
/// # Errors
/// The recipe cannot be used, built or compiled.
pub fn run(args: &Args, terminal: &Terminal) -> Result<ExitCode, CliError> {
    let loaded = args.recipe.load(terminal)?;
    let mut compiled = Vec::new();
    for variant in args.variant.choose(&loaded)? {
        let recipe = &variant.recipe;
        let shapes = args.sizes.of(recipe)?;
        let verify = args.verify.verify;
        let subject = Subject {
            name: &variant.name,
            recipe,
            shapes,
            mode: args.mode,
            backend: args.backend.backend,
            verify,
        };
        compiled.push((variant.name.as_str(), program(&subject)?));
    }
    if args.json {
        let path = args.recipe.recipe.display().to_string();
        let variants: Vec<Value> = compiled.iter().map(|(name, program)| document(name, program)).collect();
        terminal.json(&json!({ "recipe": path, "mode": args.mode.name(), "variants": variants }))?;
    } else {
        let texts: Vec<String> = compiled.iter().map(|(name, program)| text(name, program)).collect();
        terminal.print(&texts.join("\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn passes_time(program: &Program) -> Duration {
    program.passes().map(|pass| pass.time).sum()
}

fn document(name: &str, program: &Program) -> Value {
    let passes: Vec<Value> = (program.passes())
        .map(|pass| {
            let seconds = pass.time.as_secs_f64();
            json!({ "name": pass.name, "before": pass.before, "after": pass.after, "seconds": seconds })
        })
        .collect();
    let plans: Vec<Value> = (program.plans())
        .map(|plan| {
            json!({
                "name": plan.func.name,
                "backend": plan.target,
                "kernel_calls": plan.steps.len(),
                "arena_bytes": plan.arena,
                "lower_bound_bytes": plan.lower_bound,
                "scratch_bytes": plan.scratch,
            })
        })
        .collect();
    json!({ "variant": name, "seconds": program.time.as_secs_f64(), "passes": passes, "plans": plans })
}

fn text(name: &str, program: &Program) -> String {
    let mut passes = Table::new(["pass", "before", "after", "time"]).indented(2);
    for pass in program.passes() {
        let (before, after) = (pass.before.to_string(), pass.after.to_string());
        passes.row([pass.name.to_owned(), before, after, duration(pass.time)]);
    }
    let rest = program.time.saturating_sub(passes_time(program));
    passes.row([
        "building, differentiation, planning".to_owned(),
        String::new(),
        String::new(),
        duration(rest),
    ]);
    let mut text = format!("variant {name}: compiled in {}\n\n{passes}", duration(program.time));
    for plan in program.plans() {
        let (arena, scratch) = (bytes(plan.arena as u64), bytes(plan.scratch as u64));
        text.push_str(&format!(
            "\n  {} for {}: arena {arena}, scratch {scratch}\n",
            plan.func.name, plan.target
        ));
        for line in plan.summary().lines() {
            text.push_str(&format!("    {line}\n"));
        }
    }
    text
}
