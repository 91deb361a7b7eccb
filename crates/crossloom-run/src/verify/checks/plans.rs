//! Whether what is compiled computes what was verified.

use std::sync::Arc;

use crossloom_compiler::{Context, Mode, Plan, Policy, compile};
use crossloom_ir::{DType, Role, Tensor};
use crossloom_runtime::{Arena, Device, Executable, RunError, Session, Store};

use super::super::bench::Bench;
use super::super::evaluate::{Evaluated, Named, difference, norm};
use super::super::functions::Use;
use super::super::report::Verified;
use super::super::weights::state;
use super::phases::Call;
use crate::ExperimentError;
use crate::backends::Backend;
use crate::graph::training_spec;
use crate::programs::compiled;

/// How far a result in single precision may be off, as a share of it.
const SINGLE: f64 = 2e-3;
/// Results below this share of the largest are compared with it and not with themselves.
const FAINT: f64 = 1e-4;

/// Runs every phase, the whole model and a training step as they are compiled, and compares all results with those of the interpreter;
/// a step leaves all frozen weights as they were.
pub(crate) fn check(
    bench: &Bench<'_>,
    whole: &Evaluated<'_>,
    calls: &[Call],
    verified: &mut Verified,
) -> Result<(), ExperimentError> {
    let device = Backend::default().running()?;
    let mut compare = |func: &crossloom_ir::Func, given: &[&Named], expected: &Named, name: &str| {
        let plan = compiled(func, device.target(), &Policy::default())?;
        let found = run(&device, plan, given)?.0;
        tell(verified, name, &found, expected);
        Ok::<(), ExperimentError>(())
    };
    let encoded = Evaluated::new(&bench.encode.func, &[&bench.pixels, &bench.weights])?.results();
    compare(&bench.encode.func, &[&bench.pixels, &bench.weights], &encoded, "encode")?;
    let given = [&bench.states, &bench.text, &bench.weights];
    compare(&bench.over_states.func, &given, &whole.results(), "the whole model")?;
    for call in calls {
        compare(&call.function.func, &[&call.given, &bench.weights], &call.results, call.name)?;
    }
    step(bench, &device, verified)
}

fn tell(verified: &mut Verified, name: &str, found: &Named, expected: &Named) {
    let proof = verified.shared("compiled");
    let size = |tensor: &Tensor<f64>| norm(tensor.data.iter().copied());
    let largest = expected.values().map(size).fold(0.0, f64::max);
    for (result, expected) in expected {
        // The most likely token may be another where two are as likely.
        if result == "predictions" {
            continue;
        }
        match found.get(result) {
            None => proof.fail(format!("{name}: the plan has no result `{result}`")),
            Some(found) => {
                // Some gradients are zero but for rounding, such as those of biases of keys.
                let of = size(expected).max(FAINT * largest).max(f64::MIN_POSITIVE);
                let off = norm(difference(found, expected).data) / of;
                proof.at_most("off", off);
                if off > SINGLE {
                    proof.fail(format!("{name}: `{result}` of the plan is {off:.1e} off"));
                }
            }
        }
    }
}

/// A training step.
fn step(bench: &Bench<'_>, device: &Arc<dyn Device>, verified: &mut Verified) -> Result<(), ExperimentError> {
    let loss = bench.function(Use::Trained)?;
    let spec = training_spec(&bench.recipe, &loss.params);
    if spec.groups.is_empty() {
        return Ok(());
    }
    let reference = bench.function(Use::Step)?;
    let mut given = state(&reference.func);
    bench.sequences.targeted({
        given.extend(bench.text.clone());
        &mut given
    });
    for param in reference.func.params().iter().filter(|param| param.name.starts_with("hyper.")) {
        given.insert(param.name.clone(), Tensor::splat(reference.func.shape(param.value), 1e-2));
    }
    let all = [&given, &bench.pixels, &bench.states, &bench.weights];
    let expected = Evaluated::new(&reference.func, &all)?.results();
    let cx = Context::new(device.target(), Mode::Train(&spec));
    let plan = compile(&loss.func, &cx)?.main.plan;
    let (found, store) = run(device, plan, &all)?;
    // Weights move by a step of their own size only; what tells gradients apart are their first moments.
    let told = |name: &str| name.starts_with("optimizer.m.") || ["loss", "grad_norm"].contains(&name);
    let moments = expected.into_iter().filter(|(name, _)| told(name));
    tell(verified, "the training step", &found, &moments.collect());
    let trained: Vec<&String> = spec.groups.iter().flat_map(|group| &group.params).collect();
    let proof = verified.shared("frozen");
    let mut frozen = 0;
    for info in store.tensors().iter().filter(|info| info.role == Role::Weight) {
        let Some(before) = bench.weights.get(&info.name).filter(|_| !trained.contains(&&info.name)) else {
            continue;
        };
        frozen += 1;
        let after = store.read::<f32>(&info.name)?;
        let same = after
            .iter()
            .zip(&before.data)
            .all(|(after, before)| after.to_bits() == (*before as f32).to_bits());
        if !same {
            proof.fail(format!("a step changes `{}`, which is not trained", info.name));
        }
    }
    proof.measured.insert("weights", f64::from(frozen));
    Ok(())
}

/// Runs a plan once: its results, and the store as it is then.
fn run(device: &Arc<dyn Device>, plan: Plan, given: &[&Named]) -> Result<(Named, Store), ExperimentError> {
    let store = Store::new(device)?;
    let arena = Arena::new(&store);
    let mut session = Session::new(&Executable::new(device, plan)?, &arena)?;
    let params: Vec<(String, Role, DType)> = {
        let func = &session.plan().func;
        func.params().iter().map(|p| (p.name.clone(), p.role, func.dtype(p.value))).collect()
    };
    for (name, role, dtype) in params {
        let Some(tensor) = given.iter().find_map(|named| named.get(&name)) else {
            // State that the plan has besides starts at zero, as it does in the store.
            if role == Role::State {
                continue;
            }
            return Err(RunError::Unknown { kind: "value for the parameter", name }.into());
        };
        match (role, dtype) {
            (Role::Input, DType::I32) => session.write(&name, &whole(tensor))?,
            (Role::Input, _) => session.write(&name, &single(tensor))?,
            (_, DType::I32) => store.write(&name, &whole(tensor))?,
            (_, _) => store.write(&name, &single(tensor))?,
        }
    }
    session.run()?;
    let mut results = Named::new();
    let func = &session.plan().func;
    for result in func.results() {
        let ty = func.ty(result.value);
        let data: Vec<f64> = match (result.updates, ty.dtype) {
            (None, DType::I32) => session.read::<i32>(&result.name)?.into_iter().map(f64::from).collect(),
            (None, _) => session.read::<f32>(&result.name)?.into_iter().map(f64::from).collect(),
            (Some(_), DType::I32) => store.read::<i32>(&result.name)?.into_iter().map(f64::from).collect(),
            (Some(_), _) => store.read::<f32>(&result.name)?.into_iter().map(f64::from).collect(),
        };
        results.insert(result.name.clone(), Tensor { shape: ty.shape.clone(), data });
    }
    drop(session);
    Ok((results, store))
}

fn single(tensor: &Tensor<f64>) -> Vec<f32> {
    tensor.data.iter().map(|&x| x as f32).collect()
}

fn whole(tensor: &Tensor<f64>) -> Vec<i32> {
    tensor.data.iter().map(|&x| x as i32).collect()
}
