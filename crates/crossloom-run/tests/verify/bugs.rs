//! Bugs that injections have had, planted one by one: each is found, and the edges that it concerns are named, and no others.

use std::collections::BTreeSet;

use crossloom_ir::op::{AgfInject, Concat, Op, ToFloat, ToInt};
use crossloom_ir::rewrite::Rewriter;
use crossloom_ir::{InstData, IrError, Value};
use crossloom_model::{Init, Span};
use crossloom_recipe::{AnyRes, LoadOptions, Recipe, Topology, Wiring};
use crossloom_run::verify::{Aspect, Function, Use, verify};

use crate::planted::{Deviating, Planted, rebuilt, under};
use crate::support::{SEVERAL, cli, edges, from, into, names, of_method, said, variant};

/// The point at which most bugs are planted.
const POINT: &str = "layer.1";
const SCOPE: &str = "inject.layer.1";

/// Three taps one to one into the first three of four layers, added as they are.
fn one_to_one() -> Recipe {
    variant("ablations.toml", "sli", &["model.language.layers=4"])
}

/// The mapped operands of an injection: state, gates, features, positions.
fn operands(rewriter: &Rewriter<'_>, inst: &InstData) -> Option<(AgfInject, [Value; 4])> {
    let Op::AgfInject(op) = inst.op else { return None };
    let operands = rewriter.get_all(&inst.inputs).unwrap();
    Some((op, operands.try_into().unwrap()))
}

/// The same injection with other operands in every function.
fn injecting(
    usages: fn(Use) -> bool,
    other: impl Fn(&mut Rewriter<'_>, &InstData, AgfInject, [Value; 4]) -> Result<Value, IrError> + Sync,
) -> impl Fn(Use, Function) -> Function + Sync {
    move |usage, function| {
        if !usages(usage) || usage == Use::Step {
            return function;
        }
        under(SCOPE, function, |rewriter, inst| {
            let Some((op, operands)) = operands(rewriter, inst) else { return Ok(false) };
            let new = other(rewriter, inst, op, operands)?;
            rewriter.set(inst.outputs[0], new);
            Ok(true)
        })
    }
}

#[test]
fn an_update_that_is_computed_but_not_applied() {
    let recipe = cli();
    let change = injecting(|_| true, |_, _, _, [h, ..]| Ok(h));
    names(&recipe, &Planted(&change), &edges(&recipe, into(POINT)), "arrives at `layer.1`");
}

#[test]
fn one_of_several_taps_that_is_not_applied() {
    let recipe = cli();
    let change = injecting(
        |_| true,
        |rewriter, inst, op, [h, gates, v, index]| {
            let mut b = rewriter.builder(&inst.scope);
            let taps = b.func().shape(v)[0];
            let [gates, v] = [b.slice(gates, 1, 1, taps - 1)?, b.slice(v, 0, 1, taps - 1)?];
            b.one(op, &[h, gates, v, index])
        },
    );
    let expected = BTreeSet::from(["block.1->layer.1".to_owned()]);
    names(&recipe, &Planted(&change), &expected, "nothing of `block.1` arrives at `layer.1`");
}

#[test]
fn two_taps_at_one_point_of_which_the_later_overwrites_the_earlier() {
    let recipe = variant("synthetic.toml", "cli", &["variants.cli.topology.taps=['block.1', 'block.3']"]);
    let change = injecting(
        |_| true,
        |rewriter, inst, op, [h, gates, v, index]| {
            // Both read the state before either, and what the first one has made of it is lost.
            let mut b = rewriter.builder(&inst.scope);
            let mut last = h;
            for tap in 0..2 {
                let [gate, own] = [b.slice(gates, 1, tap, 1)?, b.slice(v, 0, tap, 1)?];
                last = b.one(op, &[h, gate, own, index])?;
            }
            Ok(last)
        },
    );
    let expected = BTreeSet::from(["block.1->layer.1".to_owned()]);
    names(&recipe, &Planted(&change), &expected, "nothing of `block.1`");
}

#[test]
fn edges_that_end_one_layer_off() {
    let recipe = one_to_one();
    let off = |recipe: &Recipe| {
        let mut recipe = recipe.clone();
        for point in &mut recipe.topology.main.points {
            *point = match *point {
                crossloom_recipe::PointAddress::Before(layer) => {
                    crossloom_recipe::PointAddress::Before(layer + 1)
                }
                other => other,
            };
        }
        recipe
    };
    names(&recipe, &Deviating(&off), &edges(&recipe, |_| true), "arrives at");
}

#[test]
fn one_edge_that_ends_one_layer_off() {
    let recipe = cli();
    let pairs = |recipe: &Recipe| {
        let mut recipe = recipe.clone();
        let topology = Topology::new(&recipe).unwrap();
        let mut pairs = topology.pairs();
        // One into the second layer is left out.
        pairs.retain(|(tap, point)| (tap.to_string().as_str(), point.name().as_str()) != ("block.2", POINT));
        recipe.topology.main.wiring = Wiring::Pairs(pairs);
        recipe
    };
    let expected = BTreeSet::from(["block.2->layer.1".to_owned()]);
    names(&recipe, &Deviating(&pairs), &expected, "nothing of `block.2` arrives at `layer.1`");
}

#[test]
fn an_edge_that_is_built_and_not_declared() {
    let mut declared = cli();
    let topology = Topology::new(&declared).unwrap();
    let mut pairs = topology.pairs();
    pairs.retain(|(tap, point)| (tap.to_string().as_str(), point.name().as_str()) != ("block.2", POINT));
    declared.topology.main.wiring = Wiring::Pairs(pairs);
    let dense = |recipe: &Recipe| {
        let mut recipe = recipe.clone();
        recipe.topology.main.wiring = Wiring::Dense;
        recipe
    };
    let expected = edges(&declared, from(&["block.2"]));
    names(&declared, &Deviating(&dense), &expected, "`block.2` acts at `layer.1`, which is not declared");
}

#[test]
fn an_update_after_the_wrong_half_of_the_layer() {
    let recipe = cli();
    let change = |usage: Use, function: Function| {
        if usage == Use::Step || function.func.param("tokens").is_none() {
            return function;
        }
        let mut held = None;
        let last = |inst: &InstData| {
            inst.scope.as_str() == "language.layer.1.attn" && matches!(inst.op, Op::Binary(_))
        };
        let func = rebuilt(&function.func, |rewriter, inst| {
            if let (SCOPE, Some((op, [h, gates, v, index]))) = (inst.scope.as_str(), operands(rewriter, inst))
            {
                held = Some((op, gates, v, index));
                rewriter.set(inst.outputs[0], h);
                return Ok(true);
            }
            if let (true, Some((op, gates, v, index))) = (last(inst), held) {
                rewriter.copy(inst)?;
                let state = rewriter.get(inst.outputs[0])?;
                let new = rewriter.builder(&inst.scope).one(op, &[state, gates, v, index])?;
                rewriter.set(inst.outputs[0], new);
                return Ok(true);
            }
            Ok(false)
        });
        Function { func, ..function }
    };
    let like = "enters between the halves of layer.1";
    names(&recipe, &Planted(&change), &edges(&recipe, into(POINT)), like);
}

#[test]
fn features_that_come_one_token_late() {
    let recipe = cli();
    let change = injecting(
        |_| true,
        |rewriter, inst, op, [h, gates, v, index]| {
            let mut b = rewriter.builder(&inst.scope);
            let tokens = b.func().shape(v)[2];
            let [first, last] = [b.slice(v, 2, 0, tokens - 1)?, b.slice(v, 2, tokens - 1, 1)?];
            let late = b.one(Concat { axis: 2 }, &[last, first])?;
            b.one(op, &[h, gates, late, index])
        },
    );
    let expected = edges(&recipe, into(POINT));
    let verified = names(&recipe, &Planted(&change), &expected, "does not permute what it adds");
    let alignment = &verified.edges.iter().find(|edge| edge.edge == "block.1->layer.1").unwrap().proofs;
    assert!(alignment[&Aspect::Alignment].measured["off"] > 0.1);
    assert!(alignment[&Aspect::Liveness].holds(), "it is alive all the same");
}

#[test]
fn tokens_behind_those_of_the_picture_that_stand_in_each_others_place() {
    let recipe = of_method("dense-connector-sti.toml", ["vit-tiny-patch8-64", "llama-tiny"]);
    let change = |usage: Use, function: Function| {
        if usage == Use::Step {
            return function;
        }
        under("projector", function, |rewriter, inst| {
            let Op::Concat(Concat { axis: 1 }) = inst.op else { return Ok(false) };
            let mut operands = rewriter.get_all(&inst.inputs)?;
            let mut b = rewriter.builder(&inst.scope);
            let tokens = b.func().shape(operands[1])[1];
            let [first, rest] = [b.slice(operands[1], 1, 0, 1)?, b.slice(operands[1], 1, 1, tokens - 1)?];
            operands[1] = b.one(Concat { axis: 1 }, &[rest, first])?;
            let new = b.one(Concat { axis: 1 }, &operands)?;
            rewriter.set(inst.outputs[0], new);
            Ok(true)
        })
    };
    let expected = BTreeSet::from(["block.1->input".to_owned()]);
    names(&recipe, &Planted(&change), &expected, "stands where another one should");
}

/// Positions `[B, N]` and so many more.
fn shifted(rewriter: &mut Rewriter<'_>, inst: &InstData, index: Value) -> Result<Value, IrError> {
    let mut b = rewriter.builder(&inst.scope);
    let float = b.one(ToFloat, &[index])?;
    let next = b.affine(float, 1.0, 1.0)?;
    b.one(ToInt, &[next])
}

#[test]
fn an_update_that_is_written_one_position_late() {
    let recipe = cli();
    // Chunks name a token that is not theirs by -1, and would be refused.
    let whole = |usage: Use| !matches!(usage, Use::Prefill { span: Span::Chunk, .. });
    let change = injecting(whole, |rewriter, inst, op, [h, gates, v, index]| {
        let late = shifted(rewriter, inst, index)?;
        rewriter.builder(&inst.scope).one(op, &[h, gates, v, late])
    });
    names(&recipe, &Planted(&change), &edges(&recipe, into(POINT)), "where no visual token stands");
}

#[test]
fn a_position_at_the_end_of_a_row_of_the_picture_that_is_no_visual_token() {
    let recipe = cli();
    let whole = |usage: Use| !matches!(usage, Use::Prefill { span: Span::Chunk, .. });
    let change = injecting(whole, |rewriter, inst, op, [h, gates, v, index]| {
        let behind = shifted(rewriter, inst, index)?;
        let mut b = rewriter.builder(&inst.scope);
        // The last token of the first row of two is added again where the row ends.
        let [own, place] = [b.slice(v, 2, 1, 1)?, b.slice(behind, 1, 1, 1)?];
        let h = b.one(op, &[h, gates, v, index])?;
        b.one(op, &[h, gates, own, place])
    });
    names(&recipe, &Planted(&change), &edges(&recipe, into(POINT)), "where no visual token stands");
}

/// The first two of `[B, K]` or `[K, ..]` in each other's place.
fn swapped(rewriter: &mut Rewriter<'_>, inst: &InstData, gates: Value) -> Result<Value, IrError> {
    let mut b = rewriter.builder(&inst.scope);
    let taps = b.func().shape(gates)[1];
    let [first, second, rest] =
        [b.slice(gates, 1, 0, 1)?, b.slice(gates, 1, 1, 1)?, b.slice(gates, 1, 2, taps - 2)?];
    b.one(Concat { axis: 1 }, &[second, first, rest])
}

#[test]
fn gates_of_two_taps_that_are_swapped() {
    for (set, like) in [
        ("topology.gate={ kind = 'agf', pool = 'image' }", "depends on what other taps of its point show"),
        ("topology.gate={ kind = 'static', init = 0.1 }", "act on it"),
    ] {
        let recipe = variant("synthetic.toml", "cli", &[&format!("variants.cli.{set}")]);
        let change = injecting(
            |_| true,
            |rewriter, inst, op, [h, gates, v, index]| {
                let gates = swapped(rewriter, inst, gates)?;
                rewriter.builder(&inst.scope).one(op, &[h, gates, v, index])
            },
        );
        let expected = edges(&recipe, |edge| into(POINT)(edge) && from(&["block.1", "block.2"])(edge));
        names(&recipe, &Planted(&change), &expected, like);
    }
}

#[test]
fn low_rank_branches_on_each_others_taps() {
    let recipe = cli();
    let change = |usage: Use, function: Function| {
        if usage == Use::Step {
            return function;
        }
        under("inject.adapter", function, |rewriter, inst| {
            let Op::AmpProject(op) = &inst.op else { return Ok(false) };
            let mut operands = rewriter.get_all(&inst.inputs)?;
            // Two matrices for each of four taps come last.
            let first = operands.len() - 8;
            operands.swap(first, first + 2);
            operands.swap(first + 1, first + 3);
            let new = rewriter.builder(&inst.scope).one(*op, &operands)?;
            rewriter.set(inst.outputs[0], new);
            Ok(true)
        })
    };
    let expected = edges(&recipe, from(&["block.1", "block.2"]));
    let verified = names(&recipe, &Planted(&change), &expected, "do not act on it");
    assert!(
        said(&verified).contains("block.1->layer.0: the weights of `block.2` act on it"),
        "{}",
        said(&verified)
    );
}

#[test]
fn an_edge_that_answering_drops() {
    let recipe = cli();
    let answers = |usage: Use| matches!(usage, Use::Prefill { span: Span::Whole, .. });
    let change = injecting(answers, |_, _, _, [h, ..]| Ok(h));
    names(&recipe, &Planted(&change), &edges(&recipe, into(POINT)), "adds nothing in prefill");
}

#[test]
fn an_edge_that_is_lost_under_chunked_prefill() {
    let recipe = cli();
    let change =
        injecting(|usage| matches!(usage, Use::Prefill { span: Span::Chunk, .. }), |_, _, _, [h, ..]| Ok(h));
    names(&recipe, &Planted(&change), &edges(&recipe, into(POINT)), "adds nothing in chunks");
}

/// Layers of their own that read two means of states from every position, in decoding too.
fn reading() -> Recipe {
    let topology = "variants.cli.topology={ input = 'none', stream = 'none', taps = ['low', 'high'], \
                    wiring = [['low', 'before layer.0'], ['high', 'before layer.1'], ['low', 'inside layer.2']], \
                    fusion = 'cross_attention', gate = 'none', adapter = 'per_tap', \
                    sources = { low = { kind = 'mean', of = ['block.1', 'block.2'] }, \
                    high = { kind = 'mean', of = ['block.2', 'block.4'] } } }";
    let path = crate::support::recipes().join("synthetic.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let model = text.split("[variants").next().unwrap().replace("[topology]\ninput = \"post_norm\"\n", "");
    let topology = topology.replace("variants.cli.topology=", "topology = ").replace('\'', "\"");
    let text = model.replacen("[model.vision]", &format!("{topology}\n[model.vision]"), 1);
    crossloom_recipe::load_text(std::path::Path::new("reading.toml"), &text, &LoadOptions::default())
        .unwrap_or_else(|error| panic!("{error}"))
        .base
}

#[test]
fn layers_that_read_means_of_states_from_every_position() {
    let recipe = reading();
    let verified = verify(&recipe, &crossloom_run::verify::Built).unwrap_or_else(|error| panic!("{error}"));
    assert!(verified.holds(), "{}", said(&verified));
    for edge in &verified.edges {
        let phase = &edge.proofs[&Aspect::Phase].measured;
        assert!(["prefill", "decode", "chunks"].iter().all(|name| phase.contains_key(name)), "{phase:?}");
        assert!(
            edge.proofs[&Aspect::Gradient].notes.iter().any(|note| note.contains("no gradient at the start"))
        );
    }
}

#[test]
fn an_edge_that_decoding_drops() {
    let recipe = reading();
    let change = |usage: Use, function: Function| {
        if !matches!(usage, Use::Decode { .. }) {
            return function;
        }
        under(SCOPE, function, |rewriter, inst| {
            let Op::Attention(_) = &inst.op else { return Ok(false) };
            rewriter.copy(inst)?;
            let read = rewriter.get(inst.outputs[0])?;
            let nothing = rewriter.builder(&inst.scope).affine(read, 0.0, 0.0)?;
            rewriter.set(inst.outputs[0], nothing);
            Ok(true)
        })
    };
    names(&recipe, &Planted(&change), &edges(&recipe, into(POINT)), "adds nothing in decode");
}

#[test]
fn an_injection_that_is_read_in_the_passes_of_another() {
    let recipe = variant("synthetic.toml", "cli", SEVERAL);
    let prefill = |recipe: &Recipe| {
        let mut recipe = recipe.clone();
        recipe.topology.named.get_mut("read").unwrap().phase = recipe.topology.main.phase;
        recipe
    };
    names(&recipe, &Deviating(&prefill), &edges(&recipe, into("layer.2")), "adds nothing in decode");
}

#[test]
fn an_injection_that_has_the_gate_of_another() {
    let recipe = variant("synthetic.toml", "cli", SEVERAL);
    let gate = |recipe: &Recipe| {
        let mut recipe = recipe.clone();
        recipe.topology.named.get_mut("deep").unwrap().gate =
            crossloom_recipe::Gate::Constant { value: 0.25 };
        recipe
    };
    names(&recipe, &Deviating(&gate), &edges(&recipe, into("layer.1.inside")), "topology.gate.value");
}

#[test]
fn a_mean_of_other_states_than_it_says() {
    let recipe = reading();
    let other = |recipe: &Recipe| {
        let mut recipe = recipe.clone();
        let crossloom_recipe::Tap::State(block) = "block.3".parse().unwrap() else { unreachable!() };
        if let Some(crossloom_recipe::TapSource::Mean { of }) = recipe.topology.sources.get_mut("high") {
            of[1] = block;
        }
        recipe
    };
    let expected = edges(&recipe, from(&["high"]));
    names(&recipe, &Deviating(&other), &expected, "what `high` brings depends on `state.block.3`");
}

#[test]
fn what_the_picture_left_that_decoding_drops() {
    let recipe = cli();
    // This edge acts on prompts alone: what can be lost in decoding is what it has left in the cache.
    let change = |usage: Use, function: Function| {
        if !matches!(usage, Use::Decode { .. }) {
            return function;
        }
        under("language.layer.2.attn", function, |rewriter, inst| {
            let Op::CachedAttention(_) = &inst.op else { return Ok(false) };
            let mut operands = rewriter.get_all(&inst.inputs)?;
            let mut b = rewriter.builder(&inst.scope);
            operands[2] = b.affine(operands[2], 0.0, 0.0)?;
            let new = b.one(inst.op.clone(), &operands)?;
            rewriter.set(inst.outputs[0], new);
            Ok(true)
        })
    };
    let verified = verify(&recipe, &Planted(&change)).unwrap();
    assert!(
        verified.problems().any(|(of, problem)| of == "decode" && problem.contains("logits")),
        "{}",
        said(&verified)
    );
}

#[test]
fn a_gate_that_sees_the_answer() {
    let recipe = cli();
    let change = |usage: Use, function: Function| {
        if usage == Use::Step {
            return function;
        }
        under(SCOPE, function, |rewriter, inst| {
            let Op::AgfGate(op) = &inst.op else { return Ok(false) };
            let mut operands = rewriter.get_all(&inst.inputs)?;
            let mut b = rewriter.builder(&inst.scope);
            operands[2] = b.affine(operands[2], 0.0, 1.0)?;
            let new = b.one(*op, &operands)?;
            rewriter.set(inst.outputs[0], new);
            Ok(true)
        })
    };
    let expected = edges(&recipe, into(POINT));
    let verified = names(&recipe, &Planted(&change), &expected, "an answer is seen before it is given");
    assert!(verified.problems().any(|(of, problem)| of == "answers" && problem.contains("layer.1")));
}

#[test]
fn questions_that_see_each_other() {
    let recipe = cli();
    let change = |usage: Use, function: Function| {
        if usage == Use::Step {
            return function;
        }
        under("language.layer.1.attn", function, |rewriter, inst| {
            let Op::Attention(op) = &inst.op else { return Ok(false) };
            let operands = rewriter.get_all(&inst.inputs)?;
            let op = crossloom_ir::op::Attention { segments: false, ..*op };
            let new = rewriter.builder(&inst.scope).one(op, &operands[..3])?;
            rewriter.set(inst.outputs[0], new);
            Ok(true)
        })
    };
    let verified = verify(&recipe, &Planted(&change)).unwrap();
    let told = |(of, problem): (&str, &str)| of == "questions" && problem.contains("layer.1");
    assert!(verified.problems().any(told), "{}", said(&verified));
}

#[test]
fn a_controller_whose_gradient_is_cut() {
    let recipe = cli();
    let change = |usage: Use, function: Function| {
        let weight = format!("injection.gate.{POINT}.controller.weight");
        if usage != Use::Step {
            return function;
        }
        let cut = function.func.param(&weight).unwrap().value;
        let func = rebuilt(&function.func, |rewriter, inst| {
            if !matches!(inst.op, Op::AdamW(_)) || inst.inputs[0] != cut {
                return Ok(false);
            }
            let mut operands = rewriter.get_all(&inst.inputs)?;
            let mut b = rewriter.builder(&inst.scope);
            operands[1] = b.affine(operands[1], 0.0, 0.0)?;
            let new = b.push(inst.op.clone(), &operands)?;
            rewriter.set_all(&inst.outputs, &new);
            Ok(true)
        });
        Function { func, ..function }
    };
    names(&recipe, &Planted(&change), &edges(&recipe, into(POINT)), "is not the derivative of the loss");
}

#[test]
fn a_start_from_which_an_edge_can_never_learn() {
    let sets = [
        "variants.cli.topology.gate={ kind = 'static', init = 0.0 }",
        "variants.cli.topology.adapter='per_tap'",
    ];
    let recipe = variant("synthetic.toml", "cli", &sets);
    let verified = verify(&recipe, &crossloom_run::verify::Built).unwrap();
    assert!(verified.holds(), "closed gates alone open: {}", said(&verified));
    // With the last layer of one tap's projector at zero too, gate and projector wait for each other.
    let change = |_: Use, mut function: Function| {
        for param in &mut function.params {
            if param.name.starts_with("injection.adapter.block.3.projector.linear_2") {
                param.init = Init::ZEROS;
            }
        }
        function
    };
    let expected = edges(&recipe, from(&["block.3"]));
    names(&recipe, &Planted(&change), &expected, "no gradient ever passes it");
}

#[test]
fn a_branch_that_starts_at_zero_is_told_from_one_that_stays_there() {
    let recipe = cli();
    let verified = verify(&recipe, &crossloom_run::verify::Built).unwrap();
    assert!(verified.holds(), "{}", said(&verified));
    for edge in verified.edges.iter().filter(|edge| !edge.edge.ends_with("input")) {
        let tap = edge.edge.split_once("->").unwrap().0;
        let notes = &edge.proofs[&Aspect::Gradient].notes;
        let of_a = format!("`injection.adapter.{tap}.lora_A.weight` has no gradient at the start");
        assert!(notes.iter().any(|note| note.starts_with(&of_a)), "{}: {notes:?}", edge.edge);
        assert!(!notes.iter().any(|note| note.contains("lora_B")), "B has one at once: {notes:?}");
    }
}

#[test]
fn a_tap_that_is_another_state_than_it_says() {
    let recipe = cli();
    let change = |usage: Use, mut function: Function| {
        if usage == Use::Encode {
            let results = function.func.results().to_vec();
            function.func.clear_results();
            for result in results {
                let name = match result.name.as_str() {
                    "state.block.2" => "state.block.3",
                    "state.block.3" => "state.block.2",
                    other => other,
                };
                function.func.add_result(name, result.value);
            }
        }
        function
    };
    let expected = edges(&recipe, from(&["block.2", "block.3"]));
    names(&recipe, &Planted(&change), &expected, "depend");
}

#[test]
fn a_frozen_weight_that_a_step_changes() {
    let path = crate::support::recipes().join("two-stages.toml");
    let loaded = crossloom_recipe::load(&path, &LoadOptions::default()).unwrap();
    let recipe = loaded.variant("in_two").unwrap().recipe.by_stage().remove(0);
    let change = |usage: Use, mut function: Function| {
        if usage == Use::Trained {
            let frozen = function.func.param("language_model.model.norm.weight").unwrap().value;
            let other = function.func.builder().affine(frozen, 1.01, 0.0).unwrap();
            function.func.add_update(frozen, other).unwrap();
        }
        function
    };
    let verified = verify(&recipe, &Planted(&change)).unwrap();
    let told =
        |(of, problem): (&str, &str)| of == "frozen" && problem.contains("language_model.model.norm.weight");
    assert!(verified.problems().any(told), "{}", said(&verified));
    assert_eq!(verified.problems().count(), 1, "{}", said(&verified));
}

/// Of rows whose pictures are cut into tiles; no edge is concerned, for the layout is in front of all of them.
#[test]
fn rows_that_show_other_views_and_ends_that_are_not_the_learned_token() {
    let mut recipe = cli();
    recipe.model.vision.anyres = Some(AnyRes { side: 2, most_tiles: 4 });
    let mixing = |scope: &'static str, operand: usize| {
        move |usage: Use, function: Function| {
            if usage != Use::OverViews {
                return function;
            }
            under(scope, function, |rewriter, inst| {
                let Op::MixRows(op) = inst.op else { return Ok(false) };
                let mut operands = rewriter.get_all(&inst.inputs)?;
                let mut b = rewriter.builder(&inst.scope);
                operands[operand] = b.affine(operands[operand], 0.0, 0.5)?;
                let new = b.one(op, &operands)?;
                rewriter.set(inst.outputs[0], new);
                Ok(true)
            })
        }
    };
    let problems = |scope, operand| {
        let change = mixing(scope, operand);
        let verified = verify(&recipe, &Planted(&change)).unwrap();
        let problems: Vec<String> =
            verified.problems().map(|(of, problem)| format!("{of}: {problem}")).collect();
        problems
    };
    assert!(verify(&recipe, &Planted(&|_, function| function)).unwrap().holds());
    // Weights of the input's rows, those of the taps' rows, and the end itself.
    for (scope, operand, what) in [
        ("projector.layout", 3, "do not give what these pictures give"),
        ("inject.layout", 3, "do not give what these pictures give"),
        ("projector.layout", 1, "does not read `image_newline`"),
    ] {
        let found = problems(scope, operand);
        assert!(found.len() == 1 && found[0].starts_with("layout: ") && found[0].contains(what), "{found:?}");
    }
}
