//! `explain`: what a recipe costs before anything runs.

use std::process::ExitCode;

use bytesize::ByteSize;
use serde_json::json;

use super::graph::SizeArgs;
use crate::cli::{BackendArgs, CliError, RecipeArgs, Table, Terminal, VariantArgs, bytes, grouped, scaled};
use crossloom_run::ExperimentError;
use crossloom_run::memory::{Limit, fits_here};
use crossloom_run::stages::{EdgeTrace, Explained, Mode, Ratio, Subject, explain, trace_edge};

/// What the verb is for.
pub(crate) const LONG_ABOUT: &str = "\
Say what every variant of a recipe costs before anything runs: parameters, FLOPs, bytes moved, peak memory \
by purpose, what each pass of the compiler did, which kernels were chosen, and what the injection adds to the \
same model without it.";

const AFTER_HELP: &str = "\
Examples:
  $ crossloom explain recipes/quickstart.toml
  $ crossloom explain recipes/quickstart.toml --variant cli --depth 3
  $ crossloom explain recipes/synthetic.toml --why \"block.1->layer.0\"
  $ crossloom explain recipes/quickstart.toml --set topology.adapter.rank=32 --json
  $ crossloom explain recipes/quickstart.toml --variant cli --budget 32MiB

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
    /// What a run may hold besides the process itself, such as 2GiB: a training step that needs more computes values again.
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
    let budget = args.budget.map(|size| size.as_u64());
    let mut explained = Vec::with_capacity(variants.len());
    for variant in variants {
        for recipe in variant.recipe.by_stage() {
            let shapes = args.sizes.of_stage(&variant.recipe, &recipe)?;
            explained.push(explain(
                &variant.name,
                &recipe,
                shapes,
                usize::from(args.depth),
                backend,
                budget,
            )?);
        }
    }
    for variant in &explained {
        let within = budget.map_or(Ok(()), |budget| variant.run.check(&[Limit::budget(budget)]));
        if let Err(error) = within.and_then(|()| fits_here(&variant.run)) {
            terminal.note(&format!("variant `{}` {error} ({})", title(variant), error.help()));
        }
    }
    if args.json {
        terminal.json(&json!({ "recipe": path, "variants": explained }))?;
    } else {
        let mut texts: Vec<String> = explained.iter().map(text).collect();
        texts.extend(most(&explained));
        terminal.print(&texts.join("\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A variant, with the stage that is explained.
fn title(explained: &Explained) -> String {
    match &explained.stage {
        Some(stage) => format!("{}, stage {stage}", explained.variant),
        None => explained.variant.clone(),
    }
}

/// What a run of variants with stages holds: its stages follow one another, and the largest counts.
fn most(explained: &[Explained]) -> Option<String> {
    let mut largest: Vec<(&str, &str, u64)> = Vec::new();
    for of in explained {
        let (Some(stage), total) = (&of.stage, of.run.total()) else { continue };
        match largest.last_mut().filter(|(variant, ..)| *variant == of.variant) {
            Some(known) if known.2 >= total => {}
            Some(known) => (known.1, known.2) = (stage, total),
            None => largest.push((&of.variant, stage, total)),
        }
    }
    let mut table = Table::new(["a run in stages holds at most", "in its stage", "memory"]).indented(2);
    for (variant, stage, total) in &largest {
        table.row([(*variant).to_owned(), (*stage).to_owned(), bytes(*total)]);
    }
    (!largest.is_empty()).then(|| table.to_string())
}

fn text(explained: &Explained) -> String {
    let batch = explained.shapes.batch;
    let mut text = format!(
        "variant {}: batches of {} × {} positions, {} targets each, {} words; computed in {}\n",
        title(explained),
        batch.batch,
        batch.tokens,
        batch.targets,
        explained.shapes.vocab,
        explained.precision
    );
    let mut parameters = Table::new(["parameters", "total", "trained"]).indented(2);
    let (mut total, mut trained) = (0, 0);
    for (part, count) in &explained.parameters {
        parameters.row([(*part).to_owned(), grouped(count.total), grouped(count.trained)]);
        total += count.total;
        trained += count.trained;
    }
    parameters.row(["all".to_owned(), grouped(total), grouped(trained)]);

    let (train, forward) = (&explained.train, &explained.forward);
    let mut costs = Table::new(["cost", "training step", "forward pass"]).indented(2);
    let mut cost = |name: &str, show: fn(u64) -> String, train: u64, forward: u64| {
        costs.row([name.to_owned(), show(train), show(forward)]);
    };
    cost("FLOPs", scaled, train.flops, forward.flops);
    if train.recomputed_flops > 0 {
        cost("  of these, computed again", scaled, train.recomputed_flops, forward.recomputed_flops);
    }
    cost("bytes moved", bytes, train.bytes_moved, forward.bytes_moved);
    cost("kernel calls", grouped, train.kernel_calls, forward.kernel_calls);
    cost("peak memory", bytes, train.memory.peak, forward.memory.peak);
    cost("  weights", bytes, train.memory.weights, forward.memory.weights);
    cost(
        "  activations, gradients",
        bytes,
        train.memory.activations_and_gradients,
        forward.memory.activations_and_gradients,
    );
    cost("  optimizer", bytes, train.memory.optimizer, forward.memory.optimizer);
    cost("  16-bit copies of weights", bytes, train.memory.copies, forward.memory.copies);
    cost("  batch inputs", bytes, train.memory.inputs, forward.memory.inputs);
    cost("  kernel scratch", bytes, train.memory.scratch, forward.memory.scratch);

    let mut run = Table::new(["a run holds at once", "memory"]).indented(2);
    for (purpose, bytes_of) in explained.run.parts() {
        run.row([purpose.to_owned(), bytes(bytes_of)]);
    }
    run.row(["all, besides the process itself".to_owned(), bytes(explained.run.total())]);

    let mut types =
        Table::new(["type (training step)", "weights", "state", "values", "their bytes"]).indented(2);
    for (name, held) in &explained.types {
        types.row([
            name.clone(),
            bytes(held.weights),
            bytes(held.state),
            grouped(held.values),
            bytes(held.value_bytes),
        ]);
    }

    let mut scopes = Table::new(["scope (training step)", "FLOPs", "bytes moved", "calls"]).indented(2);
    for (scope, cost) in &explained.by_scope {
        let name = if scope.is_empty() { "(none)" } else { scope };
        scopes.row([name.to_owned(), scaled(cost.flops), bytes(cost.bytes), grouped(cost.calls)]);
    }
    let mut passes = Table::new(["pass", "before", "after"]).indented(2);
    for pass in &explained.passes {
        passes.row([pass.name.to_owned(), pass.before.to_string(), pass.after.to_string()]);
    }
    let mut kernels = Table::new(["kernel", "calls"]).indented(2);
    for (kernel, calls) in &explained.kernels {
        kernels.row([kernel.clone(), calls.to_string()]);
    }
    for table in [parameters, costs, types, run, scopes, passes, kernels] {
        text.push_str(&format!("\n{table}"));
    }
    if let Some(overhead) = &explained.overhead {
        let rows: [Compared<'_>; 5] = [
            ("parameters", grouped, overhead.parameters),
            ("FLOPs, training step", scaled, overhead.train_flops),
            ("FLOPs, forward pass", scaled, overhead.forward_flops),
            ("bytes moved, training step", bytes, overhead.train_bytes_moved),
            ("peak memory, training step", bytes, overhead.train_peak),
        ];
        text.push_str(&compared(["the injection's share", "without", "with", "ratio"], &rows, 3));
    }
    if let Some(saved) = &explained.lora {
        let rows: [Compared<'_>; 4] = [
            ("trained parameters", grouped, saved.trained),
            ("optimizer", bytes, saved.optimizer),
            ("FLOPs, training step", scaled, saved.train_flops),
            ("peak memory, training step", bytes, saved.train_peak),
        ];
        text.push_str(&compared(["what LoRA saves", "in full", "with LoRA", "ratio"], &rows, 4));
    }
    text
}

/// A figure's name, how its numbers are written, and both of them.
type Compared<'n> = (&'n str, fn(u64) -> String, Ratio);

/// A table of figures with their ratios, these with so many digits.
fn compared(heading: [&str; 4], rows: &[Compared<'_>], digits: usize) -> String {
    let mut table = Table::new(heading).indented(2);
    for (name, show, Ratio { without, with, ratio }) in rows {
        table.row([(*name).to_owned(), show(*without), show(*with), format!("{ratio:.digits$}")]);
    }
    format!("\n{table}")
}

fn trace_text(variant: &str, trace: &EdgeTrace) -> String {
    let mut text = format!(
        "variant {variant}: edge {}\n\n  reads the state that `{}` computes, writes in `{}`\n\n",
        trace.edge, trace.tap, trace.point
    );
    let mut nodes = Table::new(["scope", "edges", "node"]).indented(2);
    for node in &trace.nodes {
        nodes.row([node.scope.clone(), node.edges.to_string(), node.op.clone()]);
    }
    text.push_str(&nodes.to_string());
    text.push_str("\n  weights on the way\n");
    for name in &trace.parameters {
        text.push_str(&format!("    {name}\n"));
    }
    text
}
