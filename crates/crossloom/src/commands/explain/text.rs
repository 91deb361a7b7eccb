//! What `explain` says, as text.

use crossloom_run::memory::Need;
use crossloom_run::stages::{
    Budget, Costs, EdgeTrace, Explained, FUSING, Figure, PartParameters, Ratio, Unit,
};
use indexmap::IndexMap;

use crate::cli::{Table, bytes, grouped, scaled};

pub(super) fn budget_text(budget: &Budget) -> String {
    let (given, need) = (bytes(budget.bytes), bytes(budget.need));
    if budget.fits {
        return format!("\n  budget {given}: fits, with {need}\n");
    }
    let mut table = Table::new(["what would make it fit", "memory", "fits", "settings"]).indented(2);
    for tried in &budget.tried {
        let again =
            if tried.computes_again && !tried.sets.is_empty() { ", values computed again" } else { "" };
        let memory = tried.need.map_or_else(|| "-".to_owned(), bytes);
        let settings = tried.refused.clone().unwrap_or_else(|| {
            let sets = tried.sets.iter().map(|set| format!("--set '{set}'"));
            sets.collect::<Vec<_>>().join(" ")
        });
        let fits = if tried.fits { "yes" } else { "no" };
        table.row([format!("{}{again}", tried.knob), memory, fits.to_owned(), settings]);
    }
    format!("\n  budget {given}: does not fit, with {need}\n\n{table}")
}

/// A variant, with the stage that is explained.
pub(super) fn title(explained: &Explained) -> String {
    match &explained.stage {
        Some(stage) => format!("{}, stage {stage}", explained.variant),
        None => explained.variant.clone(),
    }
}

/// What a run of variants with stages holds: its stages follow one another, and the largest counts.
pub(super) fn most(explained: &[&Explained]) -> Option<String> {
    let mut largest: Vec<(&str, &str, u64)> = Vec::new();
    for &of in explained {
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

pub(super) fn text(explained: &Explained) -> String {
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
    let mut costs = Table::new(["cost", "training step", "prefill", "decode step"]).indented(2);
    let phases = [&explained.train, &explained.prefill, &explained.decode];
    let mut cost = |name: &str, show: fn(u64) -> String, of: fn(&Costs) -> u64| {
        costs.row(std::iter::once(name.to_owned()).chain(phases.map(|phase| show(of(phase)))));
    };
    cost("FLOPs", scaled, |costs| costs.flops);
    if explained.train.recomputed_flops > 0 {
        cost("  of these, computed again", scaled, |costs| costs.recomputed_flops);
    }
    cost("bytes moved", bytes, |costs| costs.bytes_moved);
    cost("kernel calls", grouped, |costs| costs.kernel_calls);
    cost("peak memory", bytes, |costs| costs.memory.peak);
    cost("  weights", bytes, |costs| costs.memory.weights);
    cost("  activations, gradients", bytes, |costs| costs.memory.activations_and_gradients);
    cost("  optimizer", bytes, |costs| costs.memory.optimizer);
    cost("  16-bit copies of weights", bytes, |costs| costs.memory.copies);
    cost("  keys and values", bytes, |costs| costs.memory.keys_and_values);
    cost("  batch inputs", bytes, |costs| costs.memory.inputs);
    cost("  kernel scratch", bytes, |costs| costs.memory.scratch);

    let needs: Vec<&Need> = explained.run_in.values().collect();
    let mut run = Table::new(["a run holds at once", "in bf16", "in f32"]).indented(2);
    for (purpose, _) in explained.run.parts() {
        run.row(std::iter::once(purpose.to_owned()).chain(needs.iter().map(|need| bytes(need.of(purpose)))));
    }
    let all = needs.iter().map(|need| bytes(need.total()));
    run.row(std::iter::once("all, besides the process itself".to_owned()).chain(all));

    let mut edges =
        Table::new(["edge (forward pass)", "FLOPs", "bytes moved", "parameters", "own"]).indented(2);
    for (name, cost) in &explained.edges {
        let (flops, moved) = (scaled(cost.flops), bytes(cost.bytes));
        edges.row([name.clone(), flops, moved, grouped(cost.parameters), grouped(cost.own)]);
    }
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
    for table in [parts(explained), costs, types, run, edges, scopes, passes, kernels] {
        text.push_str(&format!("\n{table}"));
    }
    if let Some(overhead) = &explained.overhead {
        let rows: [Compared<'_>; 5] = [
            ("parameters", grouped, overhead.parameters),
            ("FLOPs, training step", scaled, overhead.train_flops),
            ("FLOPs, prefill", scaled, overhead.prefill_flops),
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

/// The parts of the model: their parameters, and what they cost.
fn parts(explained: &Explained) -> Table {
    let mut table = Table::new([
        "part",
        "parameters",
        "trained",
        "step: FLOPs",
        "bytes",
        "prefill: FLOPs",
        "bytes",
        "decode: FLOPs",
        "bytes",
    ])
    .indented(2);
    // Parameters are by part of the recipe, costs by scope, in which a gate and what it fuses are one.
    let row_of = |part: &str| match part {
        "gate" | "fusion" => FUSING.to_owned(),
        part => part.to_owned(),
    };
    let mut counts: IndexMap<String, PartParameters> =
        explained.parts.keys().map(|part| (part.clone(), PartParameters::default())).collect();
    for (part, count) in &explained.parameters {
        let sum = counts.entry(row_of(part)).or_default();
        (sum.total, sum.trained) = (sum.total + count.total, sum.trained + count.trained);
    }
    let (mut total, mut trained) = (0, 0);
    for (name, count) in counts {
        let cost = explained.parts.get(&name).copied().unwrap_or_default();
        (total, trained) = (total + count.total, trained + count.trained);
        let mut row = vec![name, grouped(count.total), grouped(count.trained)];
        for phase in [cost.train, cost.prefill, cost.decode] {
            row.extend([scaled(phase.flops), bytes(phase.bytes)]);
        }
        table.row(row);
    }
    let mut row = vec!["all".to_owned(), grouped(total), grouped(trained)];
    for phase in [explained.train, explained.prefill, explained.decode] {
        row.extend([scaled(phase.flops), bytes(phase.bytes_moved)]);
    }
    table.row(row);
    table
}

/// Figures of two variants side by side.
pub(in crate::commands) fn figure_table(figures: &[Figure]) -> Table {
    let mut table = Table::new(["figure", "first", "second", "ratio"]).indented(2);
    for figure in figures {
        let show = match figure.unit {
            Unit::Count => grouped,
            Unit::Flops => scaled,
            Unit::Bytes => bytes,
        };
        let ratio = figure.ratio().map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}"));
        table.row([figure.name.clone(), show(figure.first), show(figure.second), ratio]);
    }
    table
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

pub(super) fn trace_text(variant: &str, trace: &EdgeTrace) -> String {
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
