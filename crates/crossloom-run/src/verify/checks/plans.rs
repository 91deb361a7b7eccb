//! Whether what is compiled computes what was verified.

use std::sync::Arc;

use crossloom_compiler::passes::precision::COPY;
use crossloom_compiler::{Context, Mode, Plan, Policy, Precision as Compute, compile};
use crossloom_ir::{DType, Role, Tensor};
use crossloom_recipe::{KeptIn, Precision, Selection};
use crossloom_runtime::{Arena, Device, Element, Executable, RunError, Session, Store};
use half::bf16;

use super::super::bench::Bench;
use super::super::evaluate::{Evaluated, Named, difference, norm};
use super::super::functions::Use;
use super::super::report::Verified;
use super::super::weights::state;
use super::phases::Call;
use crate::ExperimentError;
use crate::backends::Backend;
use crate::graph::training_spec;
use crate::model::rounded;
use crate::programs::compiled;

/// How far results of a type may be from what was verified.
struct Exactness {
    /// As a share of the result.
    off: f64,
    /// Results below this share of the largest of their kind are compared with it and not with themselves.
    faint: f64,
}

const SINGLE: Exactness = Exactness { off: 2e-3, faint: 1e-4 };
/// Operands of products have 8 bits, and small gradients are sums of large ones.
const BF16: Exactness = Exactness { off: 0.1, faint: 0.05 };

/// A gradient through many layers amplifies what rounding takes away. How much shows where states and weights alone are rounded and all else
/// is exact; a plan rounds the other operand of every product too, and its results.
const AMPLIFIED: f64 = 4.0;
/// However much is amplified, a plan is right by half.
const MOST: f64 = 0.5;

/// Runs every phase, the whole model and a training step as they are compiled, and compares all results with those of the interpreter;
/// a step leaves all frozen weights as they were. A recipe that computes in `bf16` is compiled so too.
pub(crate) fn check(
    bench: &Bench<'_>,
    whole: &Evaluated<'_>,
    calls: &[Call],
    verified: &mut Verified,
) -> Result<(), ExperimentError> {
    let device = Backend::default().running()?;
    let types = types(bench);
    let mut compare = |func: &crossloom_ir::Func, given: &[&Named], expected: &Named, name: &str| {
        for types in &types {
            let plan = compiled(func, device.target(), &types.policy)?;
            let found = run(&device, plan, given)?.0;
            tell(verified, (types, name), &found, expected, None);
        }
        Ok::<(), ExperimentError>(())
    };
    let encoded = Evaluated::new(&bench.encode.func, &[&bench.pixels, &bench.weights])?.results();
    compare(&bench.encode.func, &[&bench.pixels, &bench.weights], &encoded, "encode")?;
    let given = [&bench.states, &bench.text, &bench.weights];
    compare(&bench.over_states.func, &given, &whole.results(), "the whole model")?;
    for call in calls {
        compare(&call.function.func, &[&call.given, &bench.weights], &call.results, call.name)?;
    }
    for types in &types {
        step(bench, &device, types, verified)?;
    }
    Ok(())
}

/// Types in which functions are compiled.
struct Types {
    /// What the proof is called.
    proof: &'static str,
    policy: Policy,
    exactness: Exactness,
}

/// `f32`, and the types that the recipe computes and keeps frozen weights in, where they are others. Types of files are not known.
fn types(bench: &Bench<'_>) -> Vec<Types> {
    let mut all = vec![Types { proof: "compiled", policy: Policy::default(), exactness: SINGLE }];
    let selection = Selection::new(&bench.given.train);
    let mut policy = Policy { given: bench.states.keys().cloned().collect(), ..Policy::default() };
    if bench.given.train.precision == Precision::Bf16 {
        policy.compute = Compute::Bf16;
    }
    for param in bench.params.iter().filter(|param| param.beside.is_none()) {
        if selection.kept_in(param.part, &param.name) == Some(KeptIn::Bf16) {
            policy.frozen.insert(param.name.clone(), DType::Bf16);
        }
    }
    if policy.compute == Compute::Bf16 || !policy.frozen.is_empty() {
        all.push(Types { proof: "compiled in bf16", policy, exactness: BF16 });
    }
    all
}

/// `moved` are the exact results of rounded operands, where results may be as far off as these (see [`AMPLIFIED`]).
fn tell(
    verified: &mut Verified,
    (types, name): (&Types, &str),
    found: &Named,
    expected: &Named,
    moved: Option<&Named>,
) {
    let proof = verified.shared(types.proof);
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
                let of = size(expected).max(types.exactness.faint * largest).max(f64::MIN_POSITIVE);
                let away = |other: &Tensor<f64>| norm(difference(other, expected).data) / of;
                let moved = moved.and_then(|moved| moved.get(result)).map_or(0.0, away);
                let allowed = types.exactness.off.max((AMPLIFIED * moved).min(MOST));
                let off = away(found);
                proof.at_most("off", off);
                if off > allowed {
                    proof.fail(format!("{name}: `{result}` of the plan is {off:.1e} off"));
                }
            }
        }
    }
}

/// A training step.
fn step(
    bench: &Bench<'_>,
    device: &Arc<dyn Device>,
    types: &Types,
    verified: &mut Verified,
) -> Result<(), ExperimentError> {
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
    let moved = |states: &Named, weights: &Named| {
        let all = [&given, &bench.pixels, states, weights];
        Evaluated::new(&reference.func, &all).map(|evaluated| evaluated.results())
    };
    let moved = (types.policy != Policy::default())
        .then(|| moved(&narrowed(&bench.states), &narrowed(&bench.weights)))
        .transpose()?;
    let cx = Context { policy: types.policy.clone(), ..Context::new(device.target(), Mode::Train(&spec)) };
    let plan = compile(&loss.func, &cx)?.main.plan;
    let (found, store) = run(device, plan, &all)?;
    // Weights move by a step of their own size only; what tells gradients apart are their first moments.
    let of = |told: &dyn Fn(&str) -> bool| -> Named {
        let told = expected.iter().filter(|(name, _)| told(name));
        told.map(|(name, tensor)| (name.clone(), tensor.clone())).collect()
    };
    for expected in
        [of(&|name| name.starts_with("optimizer.m.")), of(&|name| ["loss", "grad_norm"].contains(&name))]
    {
        tell(verified, (types, "the training step"), &found, &expected, moved.as_ref());
    }
    let trained: Vec<&String> = spec.groups.iter().flat_map(|group| &group.params).collect();
    let proof = verified.shared("frozen");
    let mut frozen = 0;
    for info in store.tensors().iter().filter(|info| info.role == Role::Weight) {
        let Some(before) = bench.weights.get(&info.name).filter(|_| !trained.contains(&&info.name)) else {
            continue;
        };
        frozen += 1;
        let before = single(before);
        let before: Vec<u8> = match info.ty.dtype {
            DType::Bf16 => rounded(&before).into_iter().flat_map(bf16::to_ne_bytes).collect(),
            _ => before.into_iter().flat_map(f32::to_ne_bytes).collect(),
        };
        if store.read_bytes(&info.name)? != before {
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
        // The 16-bit copy of a trained weight is state, and starts as the weight does.
        let of = name.strip_prefix(COPY).unwrap_or(&name);
        let Some(tensor) = given.iter().find_map(|named| named.get(of)) else {
            // State that the plan has besides starts at zero, as it does in the store.
            if role == Role::State {
                continue;
            }
            return Err(RunError::Unknown { kind: "value for the parameter", name }.into());
        };
        match (role, dtype) {
            (Role::Input, DType::I32) => session.write(&name, &whole(tensor))?,
            (Role::Input, DType::Bf16) => session.write(&name, &rounded(&single(tensor)))?,
            (Role::Input, _) => session.write(&name, &single(tensor))?,
            (_, DType::I32) => store.write(&name, &whole(tensor))?,
            (_, DType::Bf16) => store.write(&name, &rounded(&single(tensor)))?,
            (_, _) => store.write(&name, &single(tensor))?,
        }
    }
    session.run()?;
    let mut results = Named::new();
    let func = &session.plan().func;
    for result in func.results() {
        let ty = func.ty(result.value);
        let updated = result.updates.is_some();
        let data: Vec<f64> = match ty.dtype {
            DType::I32 => wide(read::<i32>(&session, &store, (&result.name, updated))?),
            DType::Bf16 => wide(read::<bf16>(&session, &store, (&result.name, updated))?),
            _ => wide(read::<f32>(&session, &store, (&result.name, updated))?),
        };
        results.insert(result.name.clone(), Tensor { shape: ty.shape.clone(), data });
    }
    drop(session);
    Ok((results, store))
}

/// Values rounded to 16 bits.
fn narrowed(of: &Named) -> Named {
    let narrow = |tensor: &Tensor<f64>| Tensor {
        shape: tensor.shape.clone(),
        data: tensor.data.iter().map(|&value| bf16::from_f64(value).to_f64()).collect(),
    };
    of.iter().map(|(name, tensor)| (name.clone(), narrow(tensor))).collect()
}

/// A result, or the parameter that it updates.
fn read<T: Element>(
    session: &Session,
    store: &Store,
    (name, updated): (&str, bool),
) -> Result<Vec<T>, RunError> {
    if updated { store.read(name) } else { session.read(name) }
}

fn wide<T: Into<f64>>(values: Vec<T>) -> Vec<f64> {
    values.into_iter().map(Into::into).collect()
}

fn single(tensor: &Tensor<f64>) -> Vec<f32> {
    tensor.data.iter().map(|&x| x as f32).collect()
}

fn whole(tensor: &Tensor<f64>) -> Vec<i32> {
    tensor.data.iter().map(|&x| x as i32).collect()
}
