//! A training step of whole models: compiled and fused in f32 beside the plain one in f64.

use std::collections::BTreeMap;

use crossloom_compiler::training::{TrainingFuncs, training};
use crossloom_cpu::CpuDevice;
use crossloom_ir::interp::run;
use crossloom_ir::{Func, Role, Tensor, Value};
use crossloom_recipe::{Part, Recipe};
use crossloom_runtime::{Arena, Executable, Session, Store};

use crate::compare::assert_close;
use crate::support::{SHAPE, Step, feed, fill, input, method, methods, start, step, step_of, variant};

/// Results of a step by name, and the tensors it updates.
type Outcome = (BTreeMap<String, Vec<f64>>, BTreeMap<String, Vec<f64>>);

/// Runs a function in f64 over the state of earlier ones, which it updates.
fn interpret(func: &Func, step: &Step, seed: u64, outcome: &mut Outcome) {
    let argument = |p: &crossloom_ir::Param| {
        let shape = func.shape(p.value);
        let f32s = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<_>>();
        let data = match p.role {
            Role::Input => f32s(input(&p.name, shape, seed)),
            _ => (outcome.1.get(&p.name).cloned())
                .unwrap_or_else(|| f32s(start(&step.params, &p.name, shape.iter().product()))),
        };
        Tensor::new(shape, data).unwrap()
    };
    let args: Vec<Tensor<f64>> = func.params().iter().map(argument).collect();
    let results = run(func, &args).unwrap_or_else(|e| panic!("{e}"));
    for (result, tensor) in func.results().iter().zip(results) {
        let part = if result.updates.is_some() { &mut outcome.1 } else { &mut outcome.0 };
        part.insert(result.name.clone(), tensor.data);
    }
}

fn expected(step: &Step) -> Outcome {
    let mut outcome = Outcome::default();
    match training(&step.forward, &step.spec).unwrap() {
        TrainingFuncs::Step(func) => interpret(&func, step, 1, &mut outcome),
        TrainingFuncs::Accumulated { micro, apply } => {
            for seed in 1..=step.spec.accumulate as u64 {
                interpret(&micro, step, seed, &mut outcome);
            }
            interpret(&apply, step, 1, &mut outcome);
        }
    }
    outcome
}

fn given(step: &Step, expected: &Outcome) -> Outcome {
    let device = CpuDevice::shared();
    let store = Store::new(&device).unwrap();
    let arena = Arena::new(&store);
    let session = |plan: &crossloom_compiler::Plan| {
        Session::new(&Executable::new(&device, plan.clone()).unwrap(), &arena).unwrap()
    };
    let mut main = session(&step.set.main.plan);
    let mut apply = step.set.apply.as_ref().map(|apply| session(&apply.plan));
    fill(&store, &step.params);
    for seed in 1..=step.spec.accumulate as u64 {
        feed(&mut main, seed);
        main.run().unwrap();
    }
    let double = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<_>>();
    let known = |session: &Session, name: &str| session.result_type(name).is_ok();
    let mut results = BTreeMap::new();
    // Both lie in one arena: what the first gives is read before the second runs.
    for name in expected.0.keys().filter(|name| known(&main, name)) {
        results.insert(name.clone(), double(main.read(name).unwrap()));
    }
    if let Some(apply) = &mut apply {
        feed(apply, 1);
        apply.run().unwrap();
        for name in expected.0.keys().filter(|name| known(apply, name)) {
            results.insert(name.clone(), double(apply.read(name).unwrap()));
        }
    }
    let updated = expected.1.keys().map(|name| (name.clone(), double(store.read(name).unwrap()))).collect();
    (results, updated)
}

/// Results and everything that is updated agree; returns how many tensors were updated.
fn check(recipe: &Recipe, accumulate: usize, what: &str) -> usize {
    check_step(&step(recipe, SHAPE, accumulate), what)
}

fn check_step(step: &Step, what: &str) -> usize {
    let expected = expected(step);
    let given = given(step, &expected);
    assert!(
        expected.0["loss"][0].is_finite() && expected.0["grad_norm"][0] > 1.0,
        "{what}: clipping is at work"
    );
    for (name, values) in &expected.0 {
        assert_close(&given.0[name], values, 1e-6, 1e-3, &format!("{what}, {name}"));
    }
    // The first moments are the clipped gradients; one that is zero in exact arithmetic (a key bias) is judged by the
    // size of the others.
    let moments = expected.1.iter().filter(|(name, _)| name.starts_with("optimizer.m."));
    let largest = moments.flat_map(|(_, values)| values).fold(0.0_f64, |m, x| m.max(x.abs()));
    for (name, values) in &expected.1 {
        let floor = if name.starts_with("optimizer.m.") { 1e-2 * largest } else { 1e-4 };
        assert_close(&given.1[name], values, floor, 1e-3, &format!("{what}, {name}"));
    }
    // An update that leaves everything as it was would agree with itself.
    let still = expected.1.iter().filter(|(name, values)| {
        let before = start(&step.params, name, values.len());
        values.iter().zip(before).all(|(after, before)| *after == f64::from(before))
    });
    // In exact arithmetic softmax does not see a bias of all keys; rotary positions make it visible in the decoder.
    let of_keys = |name: &str| ["k_proj.bias", "attention.key.bias"].iter().any(|bias| name.ends_with(bias));
    let unseen = |name: &str| !name.contains("language_model") && of_keys(name);
    let still: Vec<&String> = still
        .map(|(name, _)| name)
        .filter(|name| !name.starts_with("accumulate.") && !unseen(name))
        .collect();
    assert_eq!(still, Vec::<&String>::new(), "{what}: not updated");
    expected.1.len()
}

#[test]
fn a_step_of_the_synthetic_recipe() {
    let [projector, cli] = ["projector", "cli"].map(|name| check(&variant(name), 1, name));
    assert!(cli > projector, "the injection has weights of its own");
}

#[test]
fn a_step_of_every_method() {
    let methods = methods();
    assert!(methods.len() >= 11, "{methods:?}");
    for name in methods {
        // Four layers, so that every method's last point is followed by a layer that reads it.
        check(&method(&name, &["model.language.layers=4"]), 1, &name);
    }
}

#[test]
fn a_step_of_the_other_readings_of_cli() {
    for sets in [
        &["topology.fusion=convex"][..],
        &["topology.gate={kind='agf', granularity='channel'}"],
        &[
            "topology.fusion=convex",
            "topology.gate={kind='agf', granularity='channel', attention='separate'}",
        ],
        &["topology.gate={kind='agf', attention='none', share='edge'}", "topology.fusion.order=sequential"],
        &["topology.gate={kind='agf', share='global'}", "topology.adapter.attach=per_linear"],
        &["topology.adapter.tap_norm=layer", "model.projector.activation=quick_gelu"],
    ] {
        check(&method("cli", sets), 1, &sets.join(" "));
    }
}

#[test]
fn a_step_of_accumulated_gradients() {
    check(&variant("cli"), 2, "two micro-batches");
}

/// The pictures' side is frozen: gradients that would lead there are not computed, and all others are as they are.
#[test]
fn gradients_towards_what_is_frozen_are_left_out() {
    let step = step_of(&variant("cli"), SHAPE, 1, &[Part::Gate, Part::Language]);
    let plan = &step.set.main.plan;
    let left_out = |mnemonic: &str| -> Vec<Vec<usize>> {
        let insts = plan.func.insts().iter().filter(|inst| inst.op.mnemonic() == mnemonic);
        let empty = |outputs: &[Value]| -> Vec<usize> {
            (0..outputs.len()).filter(|&o| plan.place(outputs[o]).len == 0).collect()
        };
        insts.map(|inst| empty(&inst.outputs)).collect()
    };
    // Features of pictures are frozen; hidden states, which gates pool as well, are not.
    let injections = left_out("agf_inject_grad");
    assert!(!injections.is_empty() && injections.iter().all(|outputs| *outputs == [0]), "{injections:?}");
    let pools = left_out("attn_pool_grad");
    let of_pictures: Vec<&Vec<usize>> = pools.iter().filter(|outputs| !outputs.is_empty()).collect();
    assert!(pools.len() > 1 && of_pictures == [&vec![0]], "{pools:?}");
    check_step(&step, "frozen pictures");
}
