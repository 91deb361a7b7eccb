//! Where the time of a training step goes, kernel by kernel.
//!
//! ```text
//! cargo run --release -p crossloom-run --example step_profile -- recipes/quickstart.toml cli [--json | --shapes] [--rounds N] [KEY=VALUE …]
//! ```
//!
//! Prints the median step, then every kernel (with `--shapes`, apart by the types of what it reads) with its calls, time and rate. Times of kernels are the best of all
//! rounds, so they show what the code can do; the median shows what the machine did.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::time::Instant;

use crossloom_compiler::explain::explain;
use crossloom_data::packing::{PackedBatch, TrainingOptions, TrainingPacker};
use crossloom_model::BatchShape;
use crossloom_recipe::{LoadOptions, Split, load_with};
use crossloom_run::start::architecture;
use crossloom_run::{Data, Model, ModelStep, Pools, settled};
use crossloom_runtime::limits::peak_resident_bytes;
use crossloom_runtime::{RunError, Session};

const WARM_UP: usize = 5;
const ROUNDS: usize = 40;

/// Best time, calls and operations of one kernel.
#[derive(Default)]
struct Row {
    seconds: f64,
    calls: usize,
    flops: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let mut flag = |name: &str| args.iter().position(|a| a == name).map(|at| args.remove(at)).is_some();
    let (json, shapes) = (flag("--json"), flag("--shapes"));
    let mut rounds = ROUNDS;
    if let Some(at) = args.iter().position(|a| a == "--rounds").filter(|at| at + 1 < args.len()) {
        args.remove(at);
        rounds = args.remove(at).parse::<usize>()?.max(1);
    }
    let [path, variant, sets @ ..] = args.as_slice() else {
        return Err(
            "usage: step_profile RECIPE VARIANT [--json | --shapes] [--rounds N] [KEY=VALUE …]".into()
        );
    };
    let loaded = load_with(Path::new(path), &LoadOptions { sets: sets.to_vec() }, &architecture);
    let loaded = settled(loaded.map_err(|problems| problems.to_string())?)?;
    let recipe = &loaded.variant(variant).ok_or("no such variant")?.recipe;
    let folder = Path::new(path).parent().unwrap_or(Path::new("."));
    let data = Data::load(recipe, folder, &mut |_| ())?;
    let plan = data.plan(recipe)?;
    let shape =
        BatchShape { batch: plan.batch_size, tokens: plan.sequence_len, targets: plan.targets, views: None };
    let mut model = Model::new(recipe, shape, plan.vocab_size)?;
    let (split, encoded) = data.images(Split::Train);
    let mut packer = TrainingPacker::new(&plan, encoded, split.images(), TrainingOptions::default())?;
    let mut batch = PackedBatch::new(&plan);
    packer.fill(&mut batch)?;
    let mut training = ModelStep::new(&mut model, Pools::of(recipe), recipe.train.betas, 1)?;
    let step = training.loaded(&batch)?;

    let pool = rayon::ThreadPoolBuilder::new().build()?;
    let totals = pool.install(|| times(step, rounds))?;
    let median = totals[totals.len() / 2];
    let cost = explain(step.plan(), 2);
    if json {
        println!(
            "{{\"median_ms\": {:.3}, \"batch\": {}, \"tokens\": {}, \"targets\": {}, \"flops\": {}, \"planned_bytes\": {}, \
             \"peak_rss_bytes\": {}}}",
            1e3 * median,
            shape.batch,
            shape.tokens,
            shape.targets,
            cost.flops,
            cost.peak_bytes(),
            peak_resident_bytes().ok_or("the system does not tell the peak of resident memory")?
        );
        return Ok(());
    }
    let best = pool.install(|| profile(step, rounds.div_ceil(2)))?;
    println!(
        "median step {:.2} ms ({:.1} to {:.1}), sum of best kernel times {:.2} ms, {:.2} GFLOP, {:.1} GFLOP/s, peak memory {:.1} MB",
        1e3 * median,
        1e3 * totals[0],
        1e3 * totals[totals.len() - 1],
        1e3 * best.iter().sum::<f64>(),
        cost.flops as f64 / 1e9,
        cost.flops as f64 / 1e9 / median,
        cost.peak_bytes() as f64 / 1e6
    );
    print_kernels(step, &best, shapes);
    Ok(())
}

/// Times of whole steps, ascending.
fn times(step: &mut Session, rounds: usize) -> Result<Vec<f64>, RunError> {
    for _ in 0..WARM_UP.min(rounds) {
        step.run()?;
    }
    let mut totals = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let start = Instant::now();
        step.run()?;
        totals.push(start.elapsed().as_secs_f64());
    }
    totals.sort_by(f64::total_cmp);
    Ok(totals)
}

/// The best time of every kernel call.
fn profile(step: &mut Session, rounds: usize) -> Result<Vec<f64>, RunError> {
    let mut best = vec![f64::INFINITY; step.plan().steps.len()];
    for _ in 0..rounds {
        for time in step.profile()? {
            best[time.step] = best[time.step].min(time.time.as_secs_f64());
        }
    }
    Ok(best)
}

fn print_kernels(step: &Session, best: &[f64], shapes: bool) {
    let plan = step.plan();
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for (step, &seconds) in plan.steps.iter().zip(best) {
        let inst = plan.func.inst(step.inst);
        let inputs: Vec<_> = inst.inputs.iter().map(|&v| plan.func.ty(v)).collect();
        let outputs: Vec<_> = inst.outputs.iter().map(|&v| plan.func.ty(v)).collect();
        let mut name = step.kernel.as_str().to_owned();
        if shapes {
            for ty in &inputs {
                name.push(' ');
                name.push_str(&ty.to_string());
            }
        }
        let row = rows.entry(name).or_default();
        row.seconds += seconds;
        row.calls += 1;
        row.flops += inst.op.cost(&inputs, &outputs).flops;
    }
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort_by(|a, b| b.1.seconds.total_cmp(&a.1.seconds));
    println!("{:>10}  {:>5}  {:>9}  kernel", "ms", "calls", "GFLOP/s");
    for (kernel, row) in rows {
        let rate = row.flops as f64 / row.seconds / 1e9;
        println!("{:10.3}  {:5}  {rate:9.1}  {kernel}", 1e3 * row.seconds, row.calls);
    }
}
