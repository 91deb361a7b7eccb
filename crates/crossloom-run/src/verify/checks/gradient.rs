//! Whether gradients reach what is trained on an edge: from the weights that training starts from, or after others have moved; and
//! whether they are the derivatives of the loss.

use std::collections::{BTreeMap, BTreeSet};

use crossloom_compiler::autodiff::backward;
use crossloom_ir::op::Op;
use crossloom_ir::rewrite::Rewriter;
use crossloom_ir::{Func, IrErrors, Tensor, Value};
use crossloom_model::ParamSpec;

use super::super::bench::{Bench, NOTHING, ROUNDING};
use super::super::evaluate::{Change, Evaluated, Named, apart, norm};
use super::super::functions::Use;
use super::super::report::{Aspect, Verified};
use super::super::scene::{Operands, Scene};
use super::super::weights::{moved, noise, start, state};
use super::super::wiring::Owner;
use crate::ExperimentError;
use crate::graph::training_spec;

/// How often weights that a gradient has reached are moved before what it has not reached yet counts as never reached. Each time they
/// stand at random, so a gradient that is still zero is zero wherever they stand.
const ROUNDS: u64 = 6;
/// How far a derivative may be from a difference of two losses.
const INEXACT: f64 = 1e-5;

/// Gradients by what they are of.
struct Gradients {
    /// Of trained weights; none where the loss does not depend on one.
    weights: BTreeMap<String, Tensor<f64>>,
    /// Of what enters at points.
    entries: Operands,
}

/// Checks gradients of the training step.
pub(crate) fn check(bench: &Bench<'_>, verified: &mut Verified) -> Result<(), ExperimentError> {
    let trained = trained(bench);
    if trained.is_empty() {
        verified.shared("training").note("nothing is trained");
        return Ok(());
    }
    let loss = bench.function(Use::Loss)?;
    let mut text = bench.text.clone();
    bench.sequences.targeted(&mut text);
    let given = [&text, &bench.states];
    let first = start(bench.given, &bench.params);
    let call = [&given[..], &[&bench.weights]].concat();
    let [other, nothing] = bench.instead(&loss.func);
    let result = (bench.layers(), "loss");
    let scene = Scene::new(&loss.func, &call, (&other, &nothing), &bench.wiring, result)?;
    let scene = match scene {
        Ok(scene) => scene,
        Err(problems) => {
            for problem in problems {
                verified.shared("training").fail(problem);
            }
            return Ok(());
        }
    };
    let wanted: Vec<String> = trained.iter().map(|param| param.name.clone()).collect();
    if let Some(now) = scene.base.result("loss") {
        verified.shared("training").measured.insert("loss", now.at(0));
    }
    let probed = Probed::new(&loss.func, &scene, &wanted)?;
    reach(bench, &scene, &probed, &given, &first, verified)?;
    derivatives(bench, &scene, &text, verified)
}

/// The weights that the recipe trains.
fn trained<'b>(bench: &'b Bench<'_>) -> Vec<&'b ParamSpec> {
    let groups = training_spec(&bench.recipe, &bench.params).groups;
    let names: BTreeSet<&str> = groups.iter().flat_map(|group| &group.params).map(String::as_str).collect();
    bench.params.iter().filter(|param| names.contains(param.name.as_str())).collect()
}

/// A loss with its gradients by weights, and by what enters at every point.
struct Probed {
    func: Func,
    weights: Vec<(String, Option<Value>)>,
    entries: Vec<((usize, usize), Option<Value>)>,
}

impl Probed {
    /// Every operand that brings in what was seen gets a value of its own, so that its gradient is that of one point.
    fn new(func: &Func, scene: &Scene<'_>, wanted: &[String]) -> Result<Self, ExperimentError> {
        let entries: BTreeSet<(usize, usize)> = scene.entries.iter().flatten().copied().collect();
        let mut rewriter = Rewriter::new(func);
        let mut probes = Vec::new();
        let mut rewrite = || -> Result<(), crossloom_ir::IrError> {
            for (at, inst) in func.insts().iter().enumerate() {
                let mut operands = rewriter.get_all(&inst.inputs)?;
                for (operand, value) in operands.iter_mut().enumerate() {
                    if entries.contains(&(at, operand)) {
                        *value = rewriter.builder(&inst.scope).affine(*value, 1.0, 0.0)?;
                        probes.push(((at, operand), *value));
                    }
                }
                let types = func.dtypes(&inst.outputs);
                let outputs = rewriter.builder(&inst.scope).push_as(inst.op.clone(), &operands, &types)?;
                rewriter.set_all(&inst.outputs, &outputs);
            }
            Ok(())
        };
        rewrite().map_err(IrErrors::from)?;
        let mut probed = rewriter.finish().map_err(IrErrors::from)?;
        let weights: Vec<(String, Value)> =
            wanted.iter().filter_map(|name| Some((name.clone(), probed.param(name)?.value))).collect();
        let Some(loss) = probed.result("loss") else {
            return Ok(Self { func: probed, weights: Vec::new(), entries: Vec::new() });
        };
        let all: Vec<Value> =
            weights.iter().map(|(_, value)| *value).chain(probes.iter().map(|(_, value)| *value)).collect();
        let mut grads = backward(&mut probed, loss, &all)?.into_iter();
        let weights = weights.into_iter().zip(grads.by_ref()).map(|((name, _), grad)| (name, grad)).collect();
        let entries = probes.into_iter().zip(grads).map(|((entry, _), grad)| (entry, grad)).collect();
        Ok(Self { func: probed, weights, entries })
    }

    fn at(&self, given: &[&Named]) -> Result<Gradients, ExperimentError> {
        let call = Evaluated::new(&self.func, given)?;
        let of = |grad: &Option<Value>| grad.map(|grad| call.value(grad).clone());
        let weights = self.weights.iter().filter_map(|(name, grad)| Some((name.clone(), of(grad)?)));
        let entries = self.entries.iter().filter_map(|(entry, grad)| Some((*entry, of(grad)?)));
        Ok(Gradients { weights: weights.collect(), entries: entries.collect() })
    }
}

/// How far a gradient has come.
#[derive(Clone, Copy, PartialEq)]
enum Reached {
    /// It is there at the start.
    AtOnce,
    /// It is there once weights that are reached earlier have moved, so many times.
    After(u64),
    /// It is zero wherever they stand.
    Never,
    /// It is zero, and the loss does not depend on what it is of.
    NeedNot,
}

fn reach(
    bench: &Bench<'_>,
    scene: &Scene<'_>,
    probed: &Probed,
    given: &[&Named],
    first: &Named,
    verified: &mut Verified,
) -> Result<(), ExperimentError> {
    let wiring = &bench.wiring;
    let mut of_weights: BTreeMap<&str, Reached> =
        probed.weights.iter().map(|(name, _)| (name.as_str(), Reached::Never)).collect();
    let mut of_edges = vec![Reached::Never; wiring.edges.len()];
    let mut weights = first.clone();
    for round in 0..ROUNDS {
        let grads = probed.at(&[given, &[&weights]].concat())?;
        let largest = grads.weights.values().map(|grad| norm(grad.data.iter().copied())).fold(0.0, f64::max);
        let now = if round == 0 { Reached::AtOnce } else { Reached::After(round) };
        let mut further = false;
        for (name, grad) in &grads.weights {
            let known = of_weights.entry(probed_name(probed, name)).or_insert(Reached::Never);
            if *known == Reached::Never && norm(grad.data.iter().copied()) > NOTHING * largest {
                (*known, further) = (now, true);
            }
        }
        for (edge, wire) in wiring.edges.iter().enumerate() {
            let size = norm(scene.entries[wire.point].iter().flat_map(|entry| {
                let (grad, own) = (grads.entries.get(entry), scene.depends(*entry, wire.tap));
                match (grad, own) {
                    (Some(grad), Some(own)) => {
                        grad.data.iter().zip(own).filter(|(_, own)| *own).map(|(x, _)| *x).collect()
                    }
                    _ => Vec::new(),
                }
            }));
            let proof = verified.edge(edge, Aspect::Gradient);
            if round == 0 {
                proof.measured.insert("at start", size);
            }
            if of_edges[edge] == Reached::Never && size > NOTHING * largest {
                of_edges[edge] = now;
                further = true;
                proof.measured.insert("when reached", size);
            }
        }
        if round > 0 && !further {
            break;
        }
        // What a gradient has reached may stand anywhere by now; all else is where it started.
        for (name, reached) in &of_weights {
            if let (true, Some(value)) = (*reached != Reached::Never, first.get(*name)) {
                weights.insert((*name).to_owned(), moved(value, 11 + round, name));
            }
        }
    }
    // No gradient reaches what changes nothing wherever the others stand, such as a bias of keys under a softmax: it is told, and no
    // failure.
    let Some(loss) = scene.base.func.result("loss") else { return Ok(()) };
    let lost: Vec<&str> =
        of_weights.iter().filter(|(_, reached)| **reached == Reached::Never).map(|(name, _)| *name).collect();
    for name in lost {
        let Some(value) = bench.weights.get(name) else { continue };
        let other = Named::from([(name.to_owned(), moved(value, 17, name))]);
        let changed = scene.base.changed(&Change::of_params(scene.base.func, &other), None)?;
        if apart(scene.base.after(&changed, loss), scene.base.value(loss)) <= NOTHING {
            of_weights.insert(name, Reached::NeedNot);
        }
    }
    say(bench, &of_weights, &of_edges, verified);
    Ok(())
}

fn probed_name<'p>(probed: &'p Probed, name: &str) -> &'p str {
    probed.weights.iter().find(|(known, _)| known == name).map_or("", |(known, _)| known.as_str())
}

fn say(
    bench: &Bench<'_>,
    of_weights: &BTreeMap<&str, Reached>,
    of_edges: &[Reached],
    verified: &mut Verified,
) {
    let wiring = &bench.wiring;
    for (edge, wire) in wiring.edges.iter().enumerate() {
        let proof = verified.edge(edge, Aspect::Gradient);
        let (mut own, mut late, mut idle) = (0, Vec::new(), Vec::new());
        for (name, reached) in of_weights {
            let owner = wiring.owner(name);
            if owner.is_common() || !owner.owns(wire) {
                continue;
            }
            own += 1;
            match reached {
                Reached::AtOnce => {}
                Reached::After(_) => late.push(*name),
                Reached::NeedNot => idle.push(*name),
                Reached::Never => proof.fail(format!(
                    "no gradient ever reaches `{name}`: it is zero at the start and stays so wherever the other weights go"
                )),
            }
        }
        proof.measured.insert("own weights", f64::from(own));
        if let Some(late) = some(&late) {
            proof.note(format!("{late} no gradient at the start, and one once others have moved"));
        }
        if let Some(idle) = some(&idle) {
            proof.note(format!("{idle} no gradient, and no effect"));
        }
        match of_edges[edge] {
            Reached::AtOnce => {}
            Reached::After(_) => {
                proof.note("at the start no gradient passes it; it does once other weights have moved");
            }
            Reached::Never | Reached::NeedNot => {
                proof.fail("no gradient ever passes it, so what it brings cannot be learned");
            }
        }
    }
    let lost = of_weights
        .iter()
        .filter(|(name, reached)| **reached == Reached::Never && wiring.owner(name).is_common());
    let lost: Vec<&str> = lost.map(|(name, _)| *name).collect();
    if let [one, ..] = lost[..] {
        let all = lost.len();
        verified
            .shared("training")
            .note(format!("no gradient reaches {all} weights that are trained, such as `{one}`"));
    }
}

/// The first of some weights, and how many more have something.
fn some(names: &[&str]) -> Option<String> {
    match *names {
        [] => None,
        [one] => Some(format!("`{one}` has")),
        [one, ..] => Some(format!("`{one}` and {} more have", names.len() - 1)),
    }
}

/// Compares the gradients of the step with differences of losses, all weights of an owner moved at once.
fn derivatives(
    bench: &Bench<'_>,
    scene: &Scene<'_>,
    text: &Named,
    verified: &mut Verified,
) -> Result<(), ExperimentError> {
    let step = bench.function(Use::Step)?;
    let mut hyper = state(&step.func);
    for param in step.func.params().iter().filter(|param| param.name.starts_with("hyper.")) {
        hyper.insert(param.name.clone(), Tensor::splat(step.func.shape(param.value), 1e-3));
    }
    let call = Evaluated::new(&step.func, &[text, &bench.pixels, &bench.states, &bench.weights, &hyper])?;
    let mut grads: BTreeMap<&str, &Tensor<f64>> = BTreeMap::new();
    for inst in step.func.insts().iter().filter(|inst| matches!(inst.op, Op::AdamW(_))) {
        if let Some(param) = step.func.params().iter().find(|param| param.value == inst.inputs[0]) {
            grads.insert(&param.name, call.value(inst.inputs[1]));
        }
    }
    let Some(loss) = scene.base.func.result("loss") else { return Ok(()) };
    let agree = call.result("loss").map_or(f64::INFINITY, |of_step| apart(of_step, scene.base.value(loss)));
    if agree > ROUNDING {
        verified
            .shared("training")
            .fail("the loss of the training step is not that of the model over its states");
        return Ok(());
    }
    let mut owners: BTreeMap<Owner, Vec<&str>> = BTreeMap::new();
    for param in trained(bench) {
        let owner = bench.wiring.owner(&param.name);
        let of_edges = !owner.is_common() || param.name.starts_with("injection.");
        if of_edges && scene.base.func.param(&param.name).is_some() {
            owners.entry(owner).or_default().push(&param.name);
        }
    }
    // A loss may be more curved than the first step can tell.
    const STEPS: [f64; 3] = [1e-4, 1e-5, 1e-6];
    for (owner, names) in owners {
        let (mut slope, mut size) = (0.0, 0.0);
        let mut directions = Vec::new();
        for name in names {
            let Some(value) = bench.weights.get(name) else { continue };
            let direction = noise(&value.shape, 1.0, 13, name);
            if let Some(grad) = grads.get(name) {
                for (g, d) in grad.data.iter().zip(&direction.data) {
                    slope += g * d;
                    size += (g * d).abs();
                }
            }
            directions.push((name, value, direction));
        }
        let difference = |step: f64| -> Result<f64, ExperimentError> {
            let mut losses = [0.0; 2];
            for (to, sign) in losses.iter_mut().zip([1.0, -1.0]) {
                let moved = directions.iter().map(|(name, value, direction)| {
                    let data = value.data.iter().zip(&direction.data).map(|(x, d)| x + sign * step * d);
                    ((*name).to_owned(), Tensor { shape: value.shape.clone(), data: data.collect() })
                });
                let moved: Named = moved.collect();
                let changed = scene.base.changed(&Change::of_params(scene.base.func, &moved), None)?;
                *to = scene.base.after(&changed, loss).at(0);
            }
            Ok((losses[0] - losses[1]) / (2.0 * step))
        };
        let (mut measured, mut off) = (0.0, f64::INFINITY);
        for step in STEPS {
            measured = difference(step)?;
            off = (measured - slope).abs() / size.max(measured.abs()).max(f64::MIN_POSITIVE);
            if off <= INEXACT {
                break;
            }
        }
        for (edge, _) in bench.wiring.edges.iter().enumerate().filter(|(_, edge)| owner.owns(edge)) {
            let proof = verified.edge(edge, Aspect::Gradient);
            proof.at_most("off", off);
            if off > INEXACT {
                proof.fail(format!(
                    "the gradient of its own weights is not the derivative of the loss: {slope:.3e} where it is {measured:.3e}"
                ));
            }
        }
    }
    Ok(())
}
