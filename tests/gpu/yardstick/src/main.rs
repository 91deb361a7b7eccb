//! One function of a recipe on several backends, with the same weights and inputs: luminal's own, to which the graph goes as luminal's
//! primitives, and crossloom's. Writes times and results as JSON, each backend compared with the first.
//!
//! The exit status is 0 if all backends computed and agree, 3 if one of them has no device here, 1 if one failed or differs.

mod backend;
mod function;
mod measure;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::builder::RangedU64ValueParser;

use backend::{Backend, Failure};
use function::{Function, Kind};
use measure::{Report, measure};

/// Runs a recipe's graph on luminal's and on crossloom's backends.
#[derive(Debug, Parser)]
struct Args {
    /// The recipe's file.
    recipe: PathBuf,
    /// The variant; needed where the recipe has several.
    #[arg(long)]
    variant: Option<String>,
    /// A key of the recipe and its value, as of `crossloom run`.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// What is computed.
    #[arg(long, value_enum, default_value = "loss")]
    function: Kind,
    /// The backends, one after the other; the first is what the others are compared with.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "luminal-cuda")]
    on: Vec<Backend>,
    /// How often it is run and timed, after one run that is not.
    #[arg(long, default_value = "10", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    runs: usize,
    /// How far results may be from the first backend's, as a part of their largest number.
    #[arg(long, default_value = "1e-3")]
    tolerance: f64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let function = match Function::new(&args.recipe, args.variant.as_deref(), &args.set, args.function) {
        Ok(function) => function,
        Err(message) => {
            eprintln!("error: {message}");
            return ExitCode::FAILURE;
        }
    };
    let mut report = Report::new(&function, args.tolerance);
    let mut status = 0;
    for backend in args.on {
        let measured = measure(backend, &function, args.runs);
        if let Err(failure) = &measured {
            eprintln!("{}: {failure}", backend.name());
            status = status.max(if matches!(failure, Failure::NoDevice(_)) { 3 } else { 1 });
        }
        report.add(backend, measured);
    }
    if !report.agrees() {
        eprintln!("results differ by more than {}", args.tolerance);
        status = 1;
    }
    match serde_json::to_string_pretty(&report) {
        Ok(text) => println!("{text}"),
        Err(error) => {
            eprintln!("error: {error}");
            status = 1;
        }
    }
    ExitCode::from(status)
}
