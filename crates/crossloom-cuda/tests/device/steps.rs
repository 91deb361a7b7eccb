//! Whole training steps on the driver without a GPU, beside the CPU's: of a small recipe for some steps, of the quickstart for one.

use std::sync::Arc;

use crossloom_compiler::passes::precision::{COPY, Policy, Precision};
use crossloom_compiler::{Context, Mode, compile};
use crossloom_cpu::CpuDevice;
use crossloom_cuda::shim::Order;
use crossloom_ir::DType;
use crossloom_recipe::{LoadOptions, Recipe, load};
use crossloom_runtime::{Arena, Budget, Device, Executable, Session, Store};

use half::bf16;

use crate::compiler::has_compiler;
use crate::sessions::{fake, fake_with_library};
use crate::support::{SHAPE, Step, feed, recipes, start, step, variant};

/// Losses and gradient norms of steps, and what they leave in the store.
struct Run {
    losses: Vec<f32>,
    left: Vec<(String, Vec<f32>)>,
}

fn run(device: &Arc<dyn Device>, step: &Step, steps: u64, compute: Precision) -> Run {
    let policy = Policy { compute, ..Policy::default() };
    let cx = Context { policy, ..Context::new(device.target(), Mode::Train(&step.spec)) };
    let set = compile(&step.forward, &cx).unwrap();
    let store = Store::new(device).unwrap();
    let arena = Arena::new(&store);
    let mut session = Session::new(&Executable::new(device, set.main.plan).unwrap(), &arena).unwrap();
    for tensor in store.tensors() {
        let values = |name: &str| start(&step.params, name, tensor.ty.elements());
        match tensor.name.strip_prefix(COPY) {
            Some(name) => {
                let values: Vec<bf16> = values(name).into_iter().map(bf16::from_f32).collect();
                store.write(&tensor.name, &values).unwrap();
            }
            None => store.write(&tensor.name, &values(&tensor.name)).unwrap(),
        }
    }
    let mut losses = Vec::new();
    for seed in 0..steps {
        feed(&mut session, seed);
        session.run().unwrap();
        losses.push(session.read::<f32>("loss").unwrap()[0]);
    }
    let tensors = store.tensors().into_iter().filter(|tensor| tensor.ty.dtype == DType::F32);
    let left = tensors.map(|tensor| (tensor.name.clone(), store.read(&tensor.name).unwrap())).collect();
    Run { losses, left }
}

/// Steps on the CPU and on the other device give the same up to the order of sums.
fn alike(recipe: &Recipe, steps: u64, compute: Precision, tolerance: f32) {
    let device = fake(Order::Shuffled(3), Budget::unlimited());
    alike_on(&device, recipe, steps, compute, tolerance);
}

fn alike_on(device: &Arc<dyn Device>, recipe: &Recipe, steps: u64, compute: Precision, tolerance: f32) {
    let step = step(recipe, SHAPE, 1);
    let cpu = run(&(Arc::new(CpuDevice::default()) as Arc<dyn Device>), &step, steps, compute);
    let cuda = run(device, &step, steps, compute);
    for (at, (cuda, cpu)) in cuda.losses.iter().zip(&cpu.losses).enumerate() {
        println!("step {}: loss {cuda:.6}, on the CPU {cpu:.6}", at + 1);
        assert!((cuda - cpu).abs() <= tolerance * cpu.abs(), "loss {cuda} beside {cpu}");
    }
    assert_eq!(cuda.left.len(), cpu.left.len());
    for ((name, cuda), (of_cpu, cpu)) in cuda.left.iter().zip(&cpu.left) {
        assert_eq!(name, of_cpu);
        let largest = cpu.iter().fold(1e-3_f32, |most, x| most.max(x.abs()));
        for (i, (cuda, cpu)) in cuda.iter().zip(cpu).enumerate() {
            let away = (cuda - cpu).abs();
            assert!(away <= tolerance * largest, "{name}[{i}]: {cuda} beside {cpu} (largest {largest})");
        }
    }
}

/// How many steps are run: three, or as many as `CROSSLOOM_STEPS` says.
fn steps() -> u64 {
    std::env::var("CROSSLOOM_STEPS").ok().and_then(|steps| steps.parse().ok()).unwrap_or(3)
}

#[test]
fn a_run_of_steps_descends_as_on_the_cpu() {
    if has_compiler() {
        alike(&variant("cli"), steps(), Precision::F32, 1e-3);
    }
}

#[test]
fn a_run_of_steps_in_16_bits_descends_as_on_the_cpu() {
    if has_compiler() {
        // A sum in another order rounds now and then to the neighbour, which is a part in 256 away.
        alike(&variant("cli"), 3, Precision::Bf16, 2e-2);
    }
}

#[test]
fn the_quickstarts_step_is_that_of_the_cpu() {
    if has_compiler() {
        let loaded = load(&recipes().join("quickstart.toml"), &LoadOptions::default());
        let loaded = loaded.unwrap_or_else(|e| panic!("{e}"));
        alike(&loaded.variant("cli").unwrap().recipe, 1, Precision::F32, 1e-3);
    }
}

#[test]
fn a_run_of_steps_with_products_of_the_library_descends_as_on_the_cpu() {
    if has_compiler() {
        let recipe = variant("cli");
        alike_on(&fake_with_library(false), &recipe, 3, Precision::F32, 1e-3);
        alike_on(&fake_with_library(false), &recipe, 3, Precision::Bf16, 2e-2);
        // Operands have ten bits behind the point, three more than in `bf16`.
        alike_on(&fake_with_library(true), &recipe, 3, Precision::F32, 1e-2);
    }
}
