//! How long it takes to read a prompt (prefill) and one token behind it (decode), with weights that are all zero: only sizes matter.
//!
//! ```text
//! cargo run --release -p crossloom-run --example phase_speed -- recipes/quickstart.toml cli cpu 120 [KEY=VALUE …]
//! ```
//!
//! One sequence of that many positions, with its picture. One line of JSON for each phase: seconds, the median of some runs, and the bytes of
//! weights that a token streams.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crossloom_ir::{DType, Func, Role, TensorType};
use crossloom_model::BatchShape;
use crossloom_recipe::{LoadOptions, load};
use crossloom_run::backends::Backend;
use crossloom_run::stages::{Mode, Shapes, Subject, program_for};
use crossloom_runtime::{Arena, Executable, Session, Store};

const RUNS: usize = 9;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [path, variant, backend, positions, sets @ ..] = args.as_slice() else {
        return Err("usage: phase_speed RECIPE VARIANT BACKEND POSITIONS [KEY=VALUE …]".into());
    };
    let positions: usize = positions.parse()?;
    let backend = Backend::ALL.into_iter().find(|known| known.name() == backend).ok_or("no such backend")?;
    let loaded = load(Path::new(path), &LoadOptions { sets: sets.to_vec() }).map_err(|e| e.to_string())?;
    let recipe = &loaded.variant(variant).ok_or("no such variant")?.recipe;
    let vocab = recipe.model.language.vocab_size.unwrap_or(1024);
    let shapes = Shapes::unmeasured(recipe).with(recipe, Some(positions), Some(vocab))?;
    let shapes = Shapes { batch: BatchShape { batch: 1, targets: 1, ..shapes.batch }, ..shapes };
    let device = backend.running()?;
    for mode in [Mode::Prefill, Mode::Decode] {
        let subject = Subject { name: variant, recipe, shapes, mode, backend, verify: false };
        let plan = program_for(&subject, device.target())?.set.main.plan;
        let weights = weight_bytes(&plan.func);
        let store = Store::new(&device)?;
        let mut session = Session::new(&Executable::new(&device, plan)?, &Arena::new(&store))?;
        write_inputs(&mut session, mode, positions)?;
        let mut seconds = Vec::with_capacity(RUNS);
        // The first runs find kernels and capture a graph.
        for run in 0..RUNS + 3 {
            let start = Instant::now();
            session.run()?;
            session.wait()?;
            if run >= 3 {
                seconds.push(start.elapsed().as_secs_f64());
            }
        }
        seconds.sort_by(f64::total_cmp);
        let (phase, median) = (mode.name(), seconds[RUNS / 2]);
        println!("{{\"phase\": \"{phase}\", \"seconds\": {median:e}, \"weight_bytes\": {weights}}}");
    }
    Ok(())
}

/// Bytes of all weights that products read. Of a table whose rows are gathered only one is, unless it projects to the vocabulary too.
fn weight_bytes(func: &Func) -> usize {
    let weights = func.params().iter().filter(|param| param.role == Role::Weight);
    weights
        .filter(|param| func.insts().iter().any(|inst| inst.inputs.get(1) == Some(&param.value)))
        .map(|param| func.ty(param.value).bytes())
        .sum()
}

/// The prompt fills its sequence; what is decoded stands at its end.
fn write_inputs(session: &mut Session, mode: Mode, positions: usize) -> Result<(), Box<dyn Error>> {
    let func = Arc::new(session.plan().func.clone());
    let (start, count) = if mode == Mode::Decode { (positions - 1, 1) } else { (0, positions) };
    for param in func.params().iter().filter(|param| param.role == Role::Input) {
        let ty: &TensorType = func.ty(param.value);
        let elements = ty.elements();
        if ty.dtype != DType::I32 {
            continue;
        }
        let numbers: Vec<i32> = match param.name.as_str() {
            "start" => vec![i32::try_from(start)?; elements],
            "count" => vec![i32::try_from(count)?; elements],
            "positions" | "image_index" => (0..elements).map(i32::try_from).collect::<Result<_, _>>()?,
            _ => vec![0; elements],
        };
        session.write(&param.name, &numbers)?;
    }
    Ok(())
}
