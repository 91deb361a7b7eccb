//! Whether the gates that a function tells are those that act: reports and metrics show what it tells.

use crossloom_ir::{InstData, Tensor};
use crossloom_model::GATE_RESULT;
use crossloom_recipe::{Fusion, Gate, Injection};

use super::super::bench::{Bench, ROUNDING};
use super::super::evaluate::{Change, apart, leading_to};
use super::super::functions::Use;
use super::super::report::{Aspect, Verified};
use super::super::scene::{Operands, Scene};
use crate::ExperimentError;

/// What is wrong where another gate acts than is told.
const ANOTHER: &str = "the gate that is told of it is not the one that acts";

/// What every edge adds is what it adds behind a gate of one, times the gate that is told of it. Where it blends, what is left of the
/// hidden state is told by the same gate.
pub(crate) fn check(
    bench: &Bench<'_>,
    scene: &Scene<'_>,
    verified: &mut Verified,
) -> Result<(), ExperimentError> {
    let is_gated = |of: &Injection| !matches!(of.gate, Gate::None {}) && of.fusion.is_gated();
    let mut recipe = bench.recipe.clone();
    for injection in recipe.topology.injections_mut().filter(|injection| is_gated(injection)) {
        injection.gate = Gate::Constant { value: 1.0 };
    }
    if !recipe.topology.injections().any(|injection| is_gated(injection.of)) {
        return Ok(());
    }
    let function = bench.functions.function(&recipe, Use::OverStates, bench.sizes)?;
    let given = [&bench.states, &bench.text, &bench.weights];
    let [other, nothing] = bench.instead(&function.func);
    let result = (bench.layers(), "logits");
    let open = Scene::new(&function.func, &given, (&other, &nothing), &bench.wiring, result)?;
    let Ok(open) = open else { return Ok(()) };
    let wiring = &bench.wiring;
    for (edge, wire) in wiring.edges.iter().enumerate() {
        let Some(injection) = bench.injection(edge).filter(|injection| is_gated(injection)) else { continue };
        let convex = matches!(injection.fusion, Fusion::Convex { .. });
        // Of taps that are blended one after the other, the state in front of each is another.
        let told_apart = !convex || wiring.points[wire.point].independent;
        let (true, Some(segment), Some(of_open)) =
            (told_apart, scene.segment(wire.point), open.segment(wire.point))
        else {
            continue;
        };
        // The state is the same in both, and the edge alone where others follow it.
        let h = scene.base.value(segment.start).clone();
        let alone = |scene: &Scene<'_>, start| Change {
            values: [(start, h.clone())].into(),
            operands: if convex { Operands::new() } else { without_others(bench, scene, edge) },
        };
        let change = alone(scene, segment.start);
        let cut = scene.cut(wiring, edge, &scene.world);
        let cut = own(scene, bench, edge, &change, cut);
        let opened = alone(&open, of_open.start);
        let cut_open = own(&open, bench, edge, &opened, open.cut(wiring, edge, &open.world));
        let added = scene.update(wiring, edge, &change, &cut)?;
        let whole = open.update(wiring, edge, &opened, &cut_open)?;
        let (Some(added), Some(whole)) = (added, whole) else { continue };
        let Some(gate) = told(bench, scene, edge, &change)? else { continue };
        let mut expected = scaled(&whole, &gate);
        if convex {
            let mut closed = change.clone();
            closed.operands.extend(cut);
            let Some(left) = told(bench, scene, edge, &closed)? else { continue };
            // Behind a gate of one nothing is left of the state, and without the edge all of it.
            let state = visual_rows(bench, &h);
            let (less, more) = (scaled(&state, &gate), scaled(&state, &left));
            for (i, x) in expected.data.iter_mut().enumerate() {
                *x += more.data[i] - less.data[i];
            }
        }
        let off = apart(&added, &expected);
        let proof = verified.edge(edge, Aspect::Structure);
        proof.at_most("gate off", off);
        if off > ROUNDING {
            proof.fail(ANOTHER);
        }
    }
    Ok(())
}

/// What enters at an edge's point when every other edge of the point is cut.
fn without_others(bench: &Bench<'_>, scene: &Scene<'_>, edge: usize) -> Operands {
    let (wiring, mut operands) = (&bench.wiring, Operands::new());
    for other in wiring.into(wiring.edges[edge].point).filter(|&other| other != edge) {
        for (entry, tensor) in scene.cut(wiring, other, &scene.world) {
            let now = operands.remove(&entry);
            operands.insert(entry, taken(scene, wiring.edges[other].tap, entry, now, tensor));
        }
    }
    operands
}

/// A cut of an edge in the place of what of its own enters after a change.
fn own(scene: &Scene<'_>, bench: &Bench<'_>, edge: usize, change: &Change, cut: Operands) -> Operands {
    let tap = bench.wiring.edges[edge].tap;
    let of =
        |(entry, tensor)| (entry, taken(scene, tap, entry, change.operands.get(&entry).cloned(), tensor));
    cut.into_iter().map(of).collect()
}

/// What enters with all that depends on a tap taken from another tensor.
fn taken(
    scene: &Scene<'_>,
    tap: usize,
    entry: (usize, usize),
    now: Option<Tensor<f64>>,
    from: Tensor<f64>,
) -> Tensor<f64> {
    let (Some(mut now), Some(depends)) = (now, scene.depends(entry, tap)) else { return from };
    for (i, x) in now.data.iter_mut().enumerate().filter(|(i, _)| depends[*i]) {
        *x = from.data[i];
    }
    now
}

/// The gate `[B, D]` that is told of an edge after a change at its point; none where as many are not told as edges lead there, which is
/// another problem.
pub(super) fn told(
    bench: &Bench<'_>,
    scene: &Scene<'_>,
    edge: usize,
    change: &Change,
) -> Result<Option<Tensor<f64>>, ExperimentError> {
    let (wiring, point) = (&bench.wiring, bench.wiring.edges[edge].point);
    let name = format!("{GATE_RESULT}{}", wiring.points[point].name);
    let Some(value) = scene.base.func.result(&name) else { return Ok(None) };
    let leads = leading_to(scene.base.func, value);
    let needed = |inst: &InstData| inst.outputs.iter().any(|value| leads[value.index()]);
    let needed: Vec<bool> = scene.base.func.insts().iter().map(needed).collect();
    let changed = scene.base.changed(change, Some(&needed))?;
    let gates = scene.base.after(&changed, value);
    let (edges, width): (Vec<usize>, _) = (wiring.into(point).collect(), bench.recipe.model.language.hidden);
    let (Some(at), [batch, taps, channels @ ..]) =
        (edges.iter().position(|of| *of == edge), &gates.shape[..])
    else {
        return Ok(None);
    };
    if *taps != edges.len() {
        return Ok(None);
    }
    let per = channels.first().copied().unwrap_or(1);
    let of = |i: usize| gates.data[(i / width * taps + at) * per + if per == 1 { 0 } else { i % width }];
    Ok(Some(Tensor::from_fn(vec![*batch, width], of)))
}

/// A state `[B, T, D]` by a gate `[B, D]`.
fn scaled(state: &Tensor<f64>, gate: &Tensor<f64>) -> Tensor<f64> {
    let (width, rows) = (state.last(), state.shape[1]);
    let of = |i: usize| state.data[i] * gate.data[i / (rows * width) * width + i % width];
    Tensor::from_fn(state.shape.clone(), of)
}

/// A state with zeros where no visual token stands.
fn visual_rows(bench: &Bench<'_>, state: &Tensor<f64>) -> Tensor<f64> {
    let (visual, width) = (bench.visual_rows(), state.last());
    let mut rows = Tensor::splat(state.shape.clone(), 0.0);
    for row in visual {
        let at = row * width..(row + 1) * width;
        rows.data[at.clone()].copy_from_slice(&state.data[at]);
    }
    rows
}
