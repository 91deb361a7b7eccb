//! Two variants side by side, figure by figure.

use indexmap::IndexSet;
use serde::Serialize;

use super::{Explained, PartParameters};

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Things, such as parameters.
    Count,
    /// Floating-point operations.
    Flops,
    /// Bytes.
    Bytes,
}

/// A figure of two variants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Figure {
    /// What it is of, such as `FLOPs, training step`.
    pub name: String,
    /// What it counts.
    pub unit: Unit,
    /// That of the first variant.
    pub first: u64,
    /// That of the second.
    pub second: u64,
}

impl Figure {
    /// `second / first`; none where the first is nothing.
    pub fn ratio(&self) -> Option<f64> {
        (self.first > 0).then(|| self.second as f64 / self.first as f64)
    }
}

/// The figures of two variants: parameters, costs of what they are run for, memory, and the parts of the model.
pub fn figures(first: &Explained, second: &Explained) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut add = |name: String, unit, of: &dyn Fn(&Explained) -> u64| {
        figures.push(Figure { name, unit, first: of(first), second: of(second) });
    };
    let sum = |of: fn(&PartParameters) -> u64| {
        move |explained: &Explained| explained.parameters.values().map(of).sum()
    };
    add("parameters".to_owned(), Unit::Count, &sum(|part| part.total));
    add("parameters, trained".to_owned(), Unit::Count, &sum(|part| part.trained));
    add("FLOPs, training step".to_owned(), Unit::Flops, &|e| e.train.flops);
    add("FLOPs, prefill".to_owned(), Unit::Flops, &|e| e.prefill.flops);
    add("FLOPs, decode step".to_owned(), Unit::Flops, &|e| e.decode.flops);
    add("bytes moved, training step".to_owned(), Unit::Bytes, &|e| e.train.bytes_moved);
    add("bytes moved, prefill".to_owned(), Unit::Bytes, &|e| e.prefill.bytes_moved);
    add("bytes moved, decode step".to_owned(), Unit::Bytes, &|e| e.decode.bytes_moved);
    for precision in first.run_in.keys() {
        add(format!("memory of a run, {precision}"), Unit::Bytes, &|e| {
            e.run_in.get(precision).map_or(0, crossloom_runtime::limits::Need::total)
        });
    }
    for part in first.parameters.keys().chain(second.parameters.keys()).collect::<IndexSet<_>>() {
        add(format!("parameters, {part}"), Unit::Count, &|e| {
            e.parameters.get(part).map_or(0, |part| part.total)
        });
    }
    for part in first.parts.keys().chain(second.parts.keys()).collect::<IndexSet<_>>() {
        add(format!("FLOPs, training step, {part}"), Unit::Flops, &|e| {
            e.parts.get(part).map_or(0, |part| part.train.flops)
        });
    }
    figures.retain(|figure| figure.first > 0 || figure.second > 0);
    figures
}
