//! Phases: prefill and decode compute what one forward pass computes; decode holds no injection.

use std::collections::{BTreeMap, BTreeSet};

use crossloom_ir::interp::run;
use crossloom_ir::{Func, Role, Tensor};
use crossloom_model::{
    CacheShape, Chunking, ModelError, ModelGraph, ParamSpec, Span, StepShape, caches, chunking, connect,
    decode, encode, encode_and_connect, initial_value, inputs, prefill,
};
use crossloom_recipe::{PointAddress, Recipe, Tap, Topology};

use crate::support::{SHAPE, VOCAB, arguments, graph, methods, several, small};

/// Largest difference of two logits: the interpreter computes in double precision, so what differs is the order of sums.
const TOLERANCE: f64 = 1e-10;
/// 16 image positions, and a text of five, of which the last two are generated.
const PROMPT: usize = 19;
const CACHE: CacheShape = CacheShape { slots: 3, capacity: 24 };

type Named = BTreeMap<String, Tensor<f64>>;

fn edges(recipe: &Recipe) -> Vec<(Tap, PointAddress)> {
    Topology::new(recipe).unwrap().pairs()
}

/// A weight at its start value, but for low-rank branches and gates that start at zero and would hide what they carry.
fn weight(spec: &ParamSpec) -> Tensor<f64> {
    let elements = spec.shape.iter().product();
    let values = initial_value(spec.init, elements, 5, &spec.name);
    let busy = spec.name.ends_with("lora_B.weight");
    let shut = spec.init == crossloom_model::Init::ZEROS && spec.name.ends_with("_gate");
    Tensor::from_fn(spec.shape.clone(), |i| match (busy, shut) {
        (true, _) => (i as f64 * 0.7).sin() * 0.1,
        (_, true) => 0.5,
        _ => f64::from(values[i]),
    })
}

/// Runs a graph on weights, state and inputs; the state becomes what the graph makes of it.
fn call(model: &ModelGraph, state: &mut Named, given: &Named) -> Named {
    let func = model.graph.lift().unwrap();
    let argument = |p: &crossloom_ir::Param| match p.role {
        Role::Weight => weight(model.params.iter().find(|spec| spec.name == p.name).unwrap()),
        // Whatever is in a cache behind a sequence's length does not matter.
        Role::State => state.get(&p.name).cloned().unwrap_or_else(|| Tensor::splat(func.shape(p.value), 7.0)),
        Role::Input => given.get(&p.name).unwrap_or_else(|| panic!("no input `{}`", p.name)).clone(),
    };
    let args: Vec<_> = func.params().iter().map(argument).collect();
    let results = run(&func, &args).unwrap_or_else(|e| panic!("{e}"));
    let mut named = Named::new();
    for (result, tensor) in func.results().iter().zip(results) {
        let to = if result.updates.is_some() { &mut *state } else { &mut named };
        to.insert(result.name.clone(), tensor);
    }
    named
}

/// The inputs of one forward pass over everything, by name.
fn whole_inputs(func: &Func, model: &ModelGraph) -> Named {
    let args = arguments(model, func, |_, values| values);
    let named = func.params().iter().zip(args).filter(|(p, _)| p.role == Role::Input);
    named.map(|(p, tensor)| (p.name.clone(), tensor)).collect()
}

/// The logits of every position of every row by one forward pass: `[rows][position]`.
fn by_one_pass(recipe: &Recipe) -> (Named, Vec<Vec<Vec<f64>>>) {
    let shape = crossloom_model::BatchShape { targets: SHAPE.tokens, ..SHAPE };
    let model = graph(recipe, shape);
    let func = model.graph.lift().unwrap();
    let mut given = whole_inputs(&func, &model);
    given.insert(
        inputs::TARGET_INDEX.into(),
        Tensor::from_fn([SHAPE.batch, SHAPE.tokens], |i| (i % SHAPE.tokens) as f64),
    );
    if chunking(recipe) == Chunking::AroundPictures {
        let pictures =
            Tensor::from_fn([SHAPE.batch, SHAPE.tokens], |i| f64::from(u8::from(i % SHAPE.tokens < 16)));
        for (_, mask) in given.iter_mut().filter(|(name, _)| inputs::of_injection(name, inputs::POOL_MASK)) {
            *mask = pictures.clone();
        }
    }
    let logits = call(&model, &mut Named::new(), &given)["logits"].clone();
    let row = |b: usize| (0..SHAPE.tokens).map(|t| logits.row(b * SHAPE.tokens + t)).collect();
    (given, (0..SHAPE.batch).map(row).collect())
}

/// What `connect` gives for the pictures of `given`.
fn seen(recipe: &Recipe, given: &Named) -> Named {
    call(&encode_and_connect(recipe, &edges(recipe), SHAPE, VOCAB).unwrap(), &mut Named::new(), given)
}

/// Positions `range` of both rows (the second one `lag` positions behind) as the inputs of a call of `tokens` positions.
fn part(given: &Named, from: [usize; 2], to: [usize; 2], tokens: usize) -> Named {
    let mut named = Named::new();
    for (name, of) in given.iter().filter(|(name, _)| inputs::is_per_position(name)) {
        let value = |i: usize| {
            let (b, t) = (i / tokens, i % tokens);
            if from[b] + t < to[b] { of.data[b * SHAPE.tokens + from[b] + t] } else { 0.0 }
        };
        named.insert(name.clone(), Tensor::from_fn([2, tokens], value));
    }
    if let Some(index) = given.get(inputs::IMAGE_INDEX) {
        let place = |i: usize| {
            let (b, at) = (i / index.last(), index.data[i] as usize);
            if (from[b]..to[b]).contains(&at) { (at - from[b]) as f64 } else { -1.0 }
        };
        named.insert(inputs::IMAGE_INDEX.into(), Tensor::from_fn(index.shape.clone(), place));
    }
    named.insert(inputs::PICTURE_SLOT.into(), Tensor::from_fn([2], |b| [2.0, 0.0][b]));
    named.insert(inputs::TARGET_INDEX.into(), Tensor::from_fn([2, tokens], |i| (i % tokens) as f64));
    named.insert(inputs::SLOT.into(), Tensor::from_fn([2], |b| [2.0, 0.0][b]));
    named.insert(inputs::START.into(), Tensor::from_fn([2], |b| from[b] as f64));
    named.insert(inputs::COUNT.into(), Tensor::from_fn([2], |b| (to[b] - from[b]) as f64));
    named
}

fn assert_logits(
    what: &str,
    given: &Named,
    tokens: usize,
    expected: &[Vec<Vec<f64>>],
    from: [usize; 2],
    to: [usize; 2],
) {
    let logits = &given["logits"];
    for b in 0..2 {
        for t in from[b]..to[b] {
            let row = logits.row(b * tokens + t - from[b]);
            for (g, e) in row.iter().zip(&expected[b][t]) {
                assert!((g - e).abs() < TOLERANCE, "{what}: row {b}, position {t}: {g}, should be {e}");
            }
        }
    }
}

/// Reads prompts in the given pieces, then token by token, and compares all logits. Both rows are of different length.
fn check(method: &str, recipe: &Recipe, pieces: &[([usize; 2], Span)]) {
    let edges = edges(recipe);
    let (given, expected) = by_one_pass(recipe);
    let pictures = seen(recipe, &given);
    let (mut state, mut at) = (Named::new(), [0, 0]);
    for &(to, span) in pieces {
        let tokens = (to[0] - at[0]).max(to[1] - at[1]) + 1;
        let step = StepShape { rows: 2, tokens, cache: CACHE, visual: None };
        let model =
            prefill(recipe, &edges, step, tokens, VOCAB, span).unwrap_or_else(|e| panic!("{method}: {e}"));
        let mut part = part(&given, at, to, tokens);
        part.extend(pictures.clone());
        let results = call(&model, &mut state, &part);
        assert_logits(&format!("{method}, prefill"), &results, tokens, &expected, at, to);
        at = to;
    }
    let model =
        decode(recipe, &edges, StepShape { rows: 2, tokens: 1, cache: CACHE, visual: None }, VOCAB).unwrap();
    while at != [SHAPE.tokens; 2] {
        let to = at.map(|at| (at + 1).min(SHAPE.tokens));
        let results = call(&model, &mut state, &part(&given, at, to, 1));
        assert_logits(&format!("{method}, decode"), &results, 1, &expected, at, to);
        at = to;
    }
}

#[test]
fn prefill_and_decode_are_one_forward_pass_for_every_shipped_method() {
    for method in methods() {
        check(&method, &small(&method, &[]), &[([PROMPT, PROMPT], Span::Whole)]);
    }
}

#[test]
fn chunked_prefill_is_one_forward_pass_for_every_method_that_may_be_cut() {
    let mut refused = 0;
    for method in methods() {
        for sets in [&[][..], &["topology.gate.pool=image"]] {
            let agf = matches!(small(&method, &[]).topology.main.gate, crossloom_recipe::Gate::Agf(_));
            if !sets.is_empty() && !agf {
                continue;
            }
            let recipe = small(&method, sets);
            match chunking(&recipe) {
                Chunking::Anywhere => {
                    check(
                        &method,
                        &recipe,
                        &[([5, 9], Span::Chunk), ([18, 17], Span::Chunk), ([19, 18], Span::Text)],
                    );
                }
                Chunking::AroundPictures => {
                    check(&method, &recipe, &[([16, 17], Span::Chunk), ([19, 18], Span::Text)]);
                }
                Chunking::Never => {
                    refused += 1;
                    let step = StepShape { rows: 2, tokens: 8, cache: CACHE, visual: None };
                    for span in [Span::Chunk, Span::Text] {
                        let error = prefill(&recipe, &edges(&recipe), step, 1, VOCAB, span).err().unwrap();
                        assert!(matches!(error, ModelError::Chunks { .. }), "{method}: {error}");
                        assert!(
                            error.to_string().contains("pools the hidden state over the whole prompt"),
                            "{error}"
                        );
                    }
                }
            }
        }
    }
    assert!(refused >= 5, "the methods with AGF pool the prompt as they are: {refused}");
}

#[test]
fn several_injections_are_one_forward_pass_in_all_phases() {
    let recipe = several();
    assert_eq!(chunking(&recipe), Chunking::AroundPictures);
    check("several", &recipe, &[([PROMPT, PROMPT], Span::Whole)]);
    check("several", &recipe, &[([16, 17], Span::Chunk), ([19, 18], Span::Text)]);

    // Decoding holds the one whose phase is all, and prefill all three.
    let step = StepShape { rows: 2, tokens: 1, cache: CACHE, visual: None };
    let scopes = |model: ModelGraph| -> BTreeSet<String> {
        let func = model.graph.lift().unwrap();
        let scopes = func.insts().iter().map(|inst| inst.scope.as_str().to_owned());
        scopes.filter(|scope| scope.starts_with("inject.")).collect()
    };
    let of = |scopes: &[&str]| scopes.iter().map(|scope| (*scope).to_owned()).collect::<BTreeSet<String>>();
    let edges = edges(&recipe);
    assert_eq!(scopes(decode(&recipe, &edges, step, VOCAB).unwrap()), of(&["inject.layer.2"]));
    let whole = prefill(&recipe, &edges, step, 1, VOCAB, Span::Whole).unwrap();
    let gated: Vec<String> = whole.gates.iter().map(|(point, _)| point.name()).collect();
    assert_eq!(gated, ["layer.0", "layer.1.inside"]);
    assert_eq!(scopes(whole), of(&["inject.layer.0", "inject.layer.1.inside", "inject.layer.2"]));

    // Each has features and weights of its own.
    let seen = encode_and_connect(&recipe, &edges, SHAPE, VOCAB).unwrap();
    let names: BTreeSet<&str> = seen.params.iter().map(|param| param.name.as_str()).collect();
    for own in [
        "injection.adapter.block.2.lora_A.weight",
        "injection.deep.adapter.block.2.linear.weight",
        "injection.read.adapter.block.2.projector.linear_1.weight",
    ] {
        assert!(names.contains(own), "{own} in {names:?}");
    }
    let func = seen.graph.lift().unwrap();
    let shape = |name: &str| func.shape(func.result(name).unwrap()).to_vec();
    assert_eq!(shape("features")[0], 2);
    assert_eq!([shape("features.deep")[0], shape("features.read")[0]], [1, 2]);
}

#[test]
fn visual_tokens_that_come_and_go_are_one_forward_pass_in_all_phases() {
    for stream in
        ["from = 'before layer.1', to = 'after layer.1'", "to = 'after layer.0'", "from = 'before layer.2'"]
    {
        let recipe = small("projector", &[&format!("topology.stream={{ {stream} }}")]);
        assert!(recipe.topology.stream.stretch().is_some());
        check(stream, &recipe, &[([5, 9], Span::Chunk), ([18, 17], Span::Chunk), ([19, 18], Span::Text)]);
    }
}

/// Read by the second of three layers alone.
#[test]
fn layers_outside_the_stretch_know_nothing_of_a_picture() {
    let stream = "topology.stream={ from = 'before layer.1', to = 'after layer.1' }";
    let recipe = small("projector", &["model.language.layers=3", stream]);
    let (given, _) = by_one_pass(&recipe);
    let (edges, pictures) = (edges(&recipe), seen(&recipe, &given));
    let step = StepShape { rows: 2, tokens: PROMPT, cache: CACHE, visual: None };
    let read = prefill(&recipe, &edges, step, PROMPT, VOCAB, Span::Whole).unwrap();
    // The cache after prompts, whose picture is scaled and whose tokens at the picture's places are others.
    let kept = |scale: f64, token: f64| {
        let mut part = part(&given, [0, 0], [PROMPT; 2], PROMPT);
        part.extend(pictures.clone());
        let visual = part.get_mut(inputs::VISUAL).unwrap();
        visual.data.iter_mut().for_each(|value| *value *= scale);
        let tokens = part.get_mut(inputs::TOKENS).unwrap();
        tokens.data.iter_mut().enumerate().filter(|(i, _)| i % PROMPT < 16).for_each(|(_, id)| *id = token);
        let mut state = Named::new();
        call(&read, &mut state, &part);
        state
    };
    // Keys of a layer at the places of the picture, and at those of text, of the row in slot 2.
    let keys = |state: &Named, layer: usize| {
        let held = &state[&caches::key(layer)];
        let (width, first) = (held.last(), 2 * CACHE.capacity * held.last());
        let rows =
            |of: std::ops::Range<usize>| held.data[first + of.start * width..first + of.end * width].to_vec();
        (rows(0..16), rows(16..PROMPT))
    };
    let (state, other, token) = (kept(1.0, 1.0), kept(-1.0, 1.0), kept(1.0, 3.0));
    assert_eq!(keys(&state, 0).1, keys(&other, 0).1, "text is read without the picture before");
    assert_eq!(keys(&state, 1).1, keys(&other, 1).1);
    assert_ne!(keys(&state, 1).0, keys(&other, 1).0, "there it is");
    assert_ne!(keys(&state, 2).1, keys(&other, 2).1, "text has read it");
    assert_eq!(keys(&state, 1).0, keys(&token, 1).0, "it enters as the input made it");
    assert_eq!(keys(&state, 2).1, keys(&token, 2).1);

    let go_on =
        decode(&recipe, &edges, StepShape { rows: 2, tokens: 1, cache: CACHE, visual: None }, VOCAB).unwrap();
    let next = |spoilt: Option<usize>| {
        let mut state = state.clone();
        for name in spoilt.into_iter().flat_map(|layer| [caches::key(layer), caches::value(layer)]) {
            let held = state.get_mut(&name).unwrap();
            let width = held.last();
            held.data.iter_mut().enumerate().for_each(|(i, value)| {
                if i / width % CACHE.capacity < 16 {
                    *value += 3.0;
                }
            });
        }
        call(&go_on, &mut state, &part(&given, [PROMPT; 2], [PROMPT + 1; 2], 1))["logits"].data.clone()
    };
    assert_eq!(next(Some(0)), next(None));
    assert_eq!(next(Some(2)), next(None));
    assert_ne!(next(Some(1)), next(None));
}

#[test]
fn a_decode_graph_holds_no_injection_of_prefill_and_reads_no_picture() {
    for method in methods() {
        let recipe = small(&method, &[]);
        let acts = recipe.topology.main.phase == crossloom_recipe::Phase::All;
        let edges = edges(&recipe);
        let step = StepShape { rows: 2, tokens: 1, cache: CACHE, visual: None };
        let func = decode(&recipe, &edges, step, VOCAB).unwrap().graph.lift().unwrap();
        for inst in func.insts() {
            let (op, scope) = (inst.op.mnemonic(), inst.scope.as_str());
            assert!(
                !["agf_inject", "agf_gate", "amp_project", "attn_pool", "scatter_rows"].contains(&op),
                "{method}: {op} in {scope}"
            );
            assert!(scope.starts_with("language.") || acts, "{method}: {op} in {scope}");
        }
        for param in func.params() {
            let foreign = ["injection.adapter", "injection.gate", "vision_tower.", "multi_modal_projector."];
            assert!(!foreign.iter().any(|prefix| param.name.starts_with(prefix)), "{method}: {}", param.name);
            let pictures =
                [inputs::VISUAL, inputs::FEATURES, inputs::PIXELS, inputs::POOL_MASK, inputs::IMAGE_INDEX];
            assert!(!pictures.contains(&param.name.as_str()), "{method}: {}", param.name);
        }
        let kept = func.params().iter().filter(|param| param.name.starts_with("cache.picture.")).count();
        assert_eq!(kept, if acts { 2 * recipe.topology.main.points.len() } else { 0 }, "{method}");
        // The same check finds what prefill holds.
        let prefill = prefill(&recipe, &edges, step, 1, VOCAB, Span::Whole).unwrap().graph.lift().unwrap();
        let injections =
            prefill.insts().iter().filter(|inst| inst.scope.as_str().starts_with("inject.")).count();
        assert_eq!(injections == 0, edges.is_empty(), "{method}");
    }
}

#[test]
fn encoding_and_connecting_apart_is_doing_both_at_once() {
    for method in methods() {
        let recipe = small(&method, &[]);
        let (given, _) = by_one_pass(&recipe);
        let both = seen(&recipe, &given);
        let states = call(&encode(&recipe, SHAPE.batch).unwrap(), &mut Named::new(), &given);
        let mut states = states;
        for name in [inputs::TOKENS, inputs::QUESTION_MASK] {
            states.extend(given.get(name).map(|tensor| (name.to_owned(), tensor.clone())));
        }
        let apart =
            call(&connect(&recipe, &edges(&recipe), SHAPE, VOCAB).unwrap(), &mut Named::new(), &states);
        assert_eq!(both, apart, "{method}");
        assert_eq!(both.contains_key(inputs::FEATURES), recipe.topology.injects(), "{method}");
    }
}

#[test]
fn prompts_are_cut_where_their_gates_allow_it() {
    let recipe = small("cli", &[]);
    let cut = |chunking: Chunking, len, picture, tokens| {
        chunking.cut(&recipe, len, picture, tokens).map_err(|e| e.to_string())
    };
    assert_eq!(cut(Chunking::Never, 20, 2..18, 20).unwrap(), std::slice::from_ref(&(0..20)));
    assert!(cut(Chunking::Never, 21, 2..18, 20).unwrap_err().contains("whole prompt"));
    assert_eq!(cut(Chunking::Anywhere, 20, 2..18, 8).unwrap(), [0..8, 8..16, 16..20]);
    assert_eq!(cut(Chunking::AroundPictures, 40, 6..22, 16).unwrap(), [0..6, 6..22, 22..38, 38..40]);
    assert_eq!(cut(Chunking::AroundPictures, 40, 0..16, 20).unwrap(), [0..20, 20..40]);
    assert!(
        cut(Chunking::AroundPictures, 40, 6..22, 15).unwrap_err().contains("16 positions need one chunk")
    );
    assert!(cut(Chunking::Anywhere, 0, 0..0, 4).unwrap().is_empty());
}
