//! Times and results.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;

use crate::backend::{Backend, Failure};
use crate::function::{Function, Kind, Values};

/// What a backend did.
pub(crate) struct Measured {
    compile_seconds: f64,
    seconds: Vec<f64>,
    /// By name.
    results: BTreeMap<String, Values>,
}

/// Compiles a function, runs it once, and then so often with a clock: from inputs to results, both in the memory of the host.
pub(crate) fn measure(backend: Backend, function: &Function, runs: usize) -> Result<Measured, Failure> {
    let start = Instant::now();
    let mut ready = backend.ready(function)?;
    let compile_seconds = start.elapsed().as_secs_f64();
    let mut results = ready.run(&function.inputs)?;
    let mut seconds = Vec::with_capacity(runs);
    for _ in 0..runs {
        let start = Instant::now();
        results = ready.run(&function.inputs)?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    let names = function.func.results().iter().map(|result| result.name.clone());
    Ok(Measured { compile_seconds, seconds, results: names.zip(results).collect() })
}

/// All that is told.
#[derive(Serialize)]
pub(crate) struct Report {
    recipe: String,
    variant: String,
    function: &'static str,
    sizes: crossloom_run::stages::Shapes,
    tolerance: f64,
    backends: BTreeMap<&'static str, Line>,
    /// The first backend that computed anything, and what.
    #[serde(skip)]
    first: Option<BTreeMap<String, Values>>,
}

/// What is told of a backend.
#[derive(Default, Serialize)]
struct Line {
    /// Why there is nothing to tell.
    problem: Option<String>,
    compile_seconds: Option<f64>,
    median_seconds: Option<f64>,
    seconds: Vec<f64>,
    results: BTreeMap<String, Told>,
}

/// What is told of a result.
#[derive(Serialize)]
struct Told {
    elements: usize,
    /// Of all elements, in their order.
    sum: f64,
    /// The largest magnitude.
    largest: f64,
    /// The largest difference from the first backend's, as a part of the larger of one and its largest magnitude.
    difference: f64,
}

impl Report {
    pub(crate) fn new(function: &Function, tolerance: f64) -> Self {
        let [recipe, variant] = function.name.clone();
        let kind = match function.kind {
            Kind::Forward => "forward",
            Kind::Loss => "loss",
        };
        let (backends, first) = (BTreeMap::new(), None);
        Self { recipe, variant, function: kind, sizes: function.shapes, tolerance, backends, first }
    }

    pub(crate) fn add(&mut self, backend: Backend, measured: Result<Measured, Failure>) {
        let line = match measured {
            Err(failure) => Line { problem: Some(failure.to_string()), ..Line::default() },
            Ok(Measured { compile_seconds, seconds, results }) => {
                let first = self.first.get_or_insert_with(|| results.clone());
                let told = results.iter().map(|(name, values)| {
                    (name.clone(), told(&numbers(values), first.get(name).map(numbers).as_deref()))
                });
                let results = told.collect();
                let mut sorted = seconds.clone();
                sorted.sort_by(f64::total_cmp);
                let median_seconds = sorted.get(sorted.len() / 2).copied();
                let compile_seconds = Some(compile_seconds);
                Line { problem: None, compile_seconds, median_seconds, seconds, results }
            }
        };
        self.backends.insert(backend.name(), line);
    }

    /// Whether all results are as close to the first backend's as they have to be.
    pub(crate) fn agrees(&self) -> bool {
        let all = self.backends.values().flat_map(|line| line.results.values());
        all.into_iter().all(|told| told.difference <= self.tolerance)
    }
}

fn numbers(values: &Values) -> Vec<f64> {
    match values {
        Values::Floats(values) => values.iter().copied().map(f64::from).collect(),
        Values::Ids(ids) => ids.iter().copied().map(f64::from).collect(),
    }
}

fn told(values: &[f64], first: Option<&[f64]>) -> Told {
    let largest = |values: &[f64]| values.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
    // What is no number is as far away as can be.
    let far = |x: f64, y: f64| {
        if x == y { 0.0 } else { Some((x - y).abs()).filter(|d| !d.is_nan()).unwrap_or(f64::INFINITY) }
    };
    let difference = match first {
        Some(first) if first.len() == values.len() => {
            let most = values.iter().zip(first).map(|(&x, &y)| far(x, y)).fold(0.0, f64::max);
            most / largest(first).max(1.0)
        }
        _ => f64::INFINITY,
    };
    Told { elements: values.len(), sum: values.iter().sum(), largest: largest(values), difference }
}
