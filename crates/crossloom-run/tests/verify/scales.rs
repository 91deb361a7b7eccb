//! Numbers of a recipe that scale what is added, and the gates that are told of it.

use std::collections::BTreeSet;

use crossloom_ir::op::Concat;
use crossloom_recipe::{Adapter, Part, Recipe};
use crossloom_run::verify::{Aspect, Built, Function, Use, verify};

use crate::planted::{Deviating, Planted};
use crate::support::{cli, edges, names, said, variant};

#[test]
fn a_scale_of_low_rank_branches_that_is_dropped() {
    for attach in ["parallel", "per_linear"] {
        let set = format!(
            "variants.cli.topology.adapter={{ kind = 'amp', rank = 4, alpha = 8.0, attach = '{attach}' }}"
        );
        let recipe = variant("synthetic.toml", "cli", &[&set]);
        let unscaled = |recipe: &Recipe| {
            let mut recipe = recipe.clone();
            if let Adapter::Amp { rank, alpha, .. } = &mut recipe.topology.main.adapter {
                *alpha = *rank as f64;
            }
            recipe
        };
        let like = "the scale of its low-rank branch";
        names(&recipe, &Deviating(&unscaled), &edges(&recipe, |_| true), like);
    }
}

#[test]
fn a_constant_gate_that_is_dropped() {
    let gate = "variants.cli.topology.gate={ kind = 'constant', value = 0.25 }";
    let recipe = variant("synthetic.toml", "cli", &[gate]);
    let open = |recipe: &Recipe| {
        let mut recipe = recipe.clone();
        recipe.topology.main.gate = crossloom_recipe::Gate::Constant { value: 1.0 };
        recipe
    };
    names(&recipe, &Deviating(&open), &edges(&recipe, |_| true), "in proportion");
}

#[test]
fn a_scale_of_low_rank_pairs_in_a_part_that_is_dropped() {
    for part in ["language", "vision"] {
        let set = format!(
            "train.parts.{part}={{ trainable = false, lora = {{ rank = 2, alpha = 8, targets = ['q_proj'] }} }}"
        );
        let recipe = variant("synthetic.toml", "cli", &[&set]);
        assert!(verify(&recipe, &Built).unwrap().holds());
        let unscaled = |recipe: &Recipe| {
            let mut recipe = recipe.clone();
            for part in [Part::Language, Part::Vision] {
                if let Some(lora) = &mut recipe.train.parts.get_mut(part).lora {
                    lora.alpha = lora.rank as f64;
                }
            }
            recipe
        };
        let verified = verify(&recipe, &Deviating(&unscaled)).unwrap();
        let told = |(of, problem): (&str, &str)| of == "low-rank pairs" && problem.contains(part);
        assert!(verified.problems().any(told), "{}", said(&verified));
    }
}

/// A function that tells the gates of two taps of `layer.1` in each other's place, and computes as it did.
fn told_in_each_others_place(mut function: Function) -> Function {
    const GATES: &str = "gate.layer.1";
    let Some(gates) = function.func.result(GATES) else { return function };
    let taps = function.func.shape(gates)[1];
    let mut b = function.func.builder();
    let [first, second, rest] =
        [(0, 1), (1, 1), (2, taps - 2)].map(|(at, count)| b.slice(gates, 1, at, count));
    let swapped = b.one(Concat { axis: 1 }, &[second.unwrap(), first.unwrap(), rest.unwrap()]).unwrap();
    let results = function.func.results().to_vec();
    function.func.clear_results();
    for result in results {
        let value = if result.name == GATES { swapped } else { result.value };
        match result.updates {
            Some(param) => {
                let param = function.func.params()[param].value;
                function.func.add_update(param, value).unwrap();
            }
            None => function.func.add_result(result.name, value),
        }
    }
    function
}

#[test]
fn gates_that_are_told_of_each_others_taps() {
    for gate in [
        "{ kind = 'agf', pool = 'image' }",
        "{ kind = 'agf', pool = 'image', granularity = 'channel' }",
        "{ kind = 'static', init = 0.1 }",
    ] {
        for fusion in ["gated_add", "convex"] {
            let sets = [
                format!("variants.cli.topology.gate={gate}"),
                format!("variants.cli.topology.fusion='{fusion}'"),
            ];
            let recipe = variant("synthetic.toml", "cli", &[&sets[0], &sets[1]]);
            let everywhere = |usage: Use, function: Function| match usage {
                Use::Step => function,
                _ => told_in_each_others_place(function),
            };
            let expected = BTreeSet::from(["block.1->layer.1".to_owned(), "block.2->layer.1".to_owned()]);
            let verified = names(&recipe, &Planted(&everywhere), &expected, "is not the one that acts");
            let alive = verified.edges.iter().all(|edge| edge.proofs[&Aspect::Liveness].holds());
            assert!(alive, "{}", said(&verified));
        }
    }
}

#[test]
fn gates_that_prefill_alone_tells_of_each_others_taps() {
    let recipe = cli();
    let in_prefill = |usage: Use, function: Function| match usage {
        Use::Prefill { .. } => told_in_each_others_place(function),
        _ => function,
    };
    let expected = BTreeSet::from(["block.1->layer.1".to_owned(), "block.2->layer.1".to_owned()]);
    names(&recipe, &Planted(&in_prefill), &expected, "in prefill another gate is told of it");
}
