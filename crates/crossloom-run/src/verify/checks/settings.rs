//! Whether numbers of a recipe that scale what an edge adds do so.

use crossloom_ir::Tensor;
use crossloom_recipe::{Adapter, Gate, Part, Recipe};

use super::super::bench::{Bench, ROUNDING};
use super::super::evaluate::{Change, Evaluated, Named, apart};
use super::super::functions::Use;
use super::super::report::{Aspect, Verified};
use super::super::scene::Scene;
use crate::ExperimentError;

/// One model said twice: the recipe and weights of both, and by how much what is added differs.
struct Law {
    said: &'static str,
    models: [(Recipe, Named); 2],
    factor: f64,
    /// The edges that it holds of.
    edges: Vec<usize>,
}

/// A scale of low-rank branches is a factor of their second matrix; a constant gate is a factor of what is added.
pub(crate) fn check(bench: &Bench<'_>, verified: &mut Verified) -> Result<(), ExperimentError> {
    low_rank_parts(bench, verified)?;
    for law in laws(bench) {
        let [first, second] = law.models;
        let first = updates(bench, &first.0, &first.1)?;
        let second = updates(bench, &second.0, &second.1)?;
        for (edge, (first, second)) in first.into_iter().zip(second).enumerate() {
            let (Some(first), Some(mut second)) = (first, second) else { continue };
            if !law.edges.contains(&edge) {
                continue;
            }
            second.data.iter_mut().for_each(|x| *x *= law.factor);
            if apart(&first, &second) > ROUNDING {
                verified.edge(edge, Aspect::Structure).fail(law.said);
            }
        }
    }
    Ok(())
}

/// The second matrix of a low-rank pair.
const SECOND: &str = "lora_B.weight";

/// Some weights three times as large.
fn tripled(weights: &Named, which: impl Fn(&str) -> bool) -> Named {
    let mut weights = weights.clone();
    for (_, tensor) in weights.iter_mut().filter(|(name, _)| which(name)) {
        tensor.data.iter_mut().for_each(|x| *x *= 3.0);
    }
    weights
}

/// The scale of the low-rank pairs beside a part's own weights is a factor of their second matrix, of all of them.
fn low_rank_parts(bench: &Bench<'_>, verified: &mut Verified) -> Result<(), ExperimentError> {
    let logits = |recipe: &Recipe, weights: &Named| -> Result<Option<Tensor<f64>>, ExperimentError> {
        let whole = bench.functions.function(recipe, Use::Whole, bench.sizes)?;
        let call = Evaluated::new(&whole.func, &[&bench.pixels, &bench.text, weights])?;
        Ok(call.result("logits").cloned())
    };
    for part in Part::ALL {
        let mut scaled = bench.recipe.clone();
        let Some(lora) = &mut scaled.train.parts.get_mut(part).lora else { continue };
        lora.alpha *= 3.0;
        let pairs = bench.params.iter().filter(|param| param.part == part && param.beside.is_some());
        let second: Vec<&str> =
            pairs.map(|param| param.name.as_str()).filter(|name| name.ends_with(SECOND)).collect();
        let by_alpha = logits(&scaled, &bench.weights)?;
        let by_weights = logits(&bench.recipe, &tripled(&bench.weights, |name| second.contains(&name)))?;
        let proof = verified.shared("low-rank pairs");
        let off = by_alpha.zip(by_weights).map_or(f64::INFINITY, |(first, second)| apart(&first, &second));
        proof.at_most("off", off);
        if second.is_empty() {
            proof.fail(format!("{} has no low-rank pairs", part.name()));
        } else if off > ROUNDING {
            proof.fail(format!(
                "the scale of the low-rank pairs in {0} is not `train.parts.{0}.lora.alpha / rank`",
                part.name()
            ));
        }
    }
    Ok(())
}

fn laws(bench: &Bench<'_>) -> Vec<Law> {
    let mut laws = Vec::new();
    let topology = &bench.recipe.topology;
    let all = || 0..bench.wiring.edges.len();
    let branched = topology.injections().filter(|of| matches!(of.of.adapter, Adapter::Amp { .. }));
    let branches: Vec<String> = branched.map(|of| format!("{}.adapter.", of.prefix())).collect();
    if !branches.is_empty() {
        // Neither scale is one that a builder may leave out.
        let mut scaled = bench.recipe.clone();
        for injection in scaled.topology.injections_mut() {
            if let Adapter::Amp { alpha, .. } = &mut injection.adapter {
                *alpha *= 3.0;
            }
        }
        let second = |name: &str| branches.iter().any(|own| name.starts_with(own)) && name.ends_with(SECOND);
        let weights = tripled(&bench.weights, second);
        laws.push(Law {
            said: "the scale of its low-rank branch is not `topology.adapter.alpha / rank`",
            models: [(scaled, bench.weights.clone()), (bench.recipe.clone(), weights)],
            factor: 1.0,
            edges: all().collect(),
        });
    }
    let constant = |edge: &usize| {
        bench.injection(*edge).is_some_and(|injection| matches!(injection.gate, Gate::Constant { .. }))
    };
    let constant: Vec<usize> = all().filter(constant).collect();
    if !constant.is_empty() {
        let mut doubled = bench.recipe.clone();
        for injection in doubled.topology.injections_mut() {
            if let Gate::Constant { value } = &mut injection.gate {
                *value *= 2.0;
            }
        }
        laws.push(Law {
            said: "what it adds is not in proportion to `topology.gate.value`",
            models: [(doubled, bench.weights.clone()), (bench.recipe.clone(), bench.weights.clone())],
            factor: 2.0,
            edges: constant,
        });
    }
    laws
}

/// What every edge of a recipe adds, the hidden state in front of its point being [`in_front`] of it for all recipes.
fn updates(
    bench: &Bench<'_>,
    recipe: &Recipe,
    weights: &Named,
) -> Result<Vec<Option<Tensor<f64>>>, ExperimentError> {
    let function = bench.functions.function(recipe, Use::OverStates, bench.sizes)?;
    let given = [&bench.states, &bench.text, weights];
    let result = (bench.layers(), "logits");
    let [other, nothing] = bench.instead(&function.func);
    let scene = Scene::new(&function.func, &given, (&other, &nothing), &bench.wiring, result)?;
    let Ok(scene) = scene else { return Ok(Vec::new()) };
    let of = |edge: usize| {
        let Some(segment) = scene.segment(bench.wiring.edges[edge].point) else {
            return Ok(None);
        };
        let h = in_front(&scene.base.value(segment.start).shape);
        let change = Change { values: [(segment.start, h)].into(), ..Change::default() };
        scene.update(&bench.wiring, edge, &change, &scene.cut(&bench.wiring, edge, &scene.world))
    };
    (0..bench.wiring.edges.len()).map(of).collect()
}

/// A hidden state.
fn in_front(shape: &[usize]) -> Tensor<f64> {
    Tensor::from_fn(shape.to_vec(), |i| (i as f64 * 0.37).sin())
}
