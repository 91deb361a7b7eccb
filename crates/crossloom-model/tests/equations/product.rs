//! What crossloom makes of the same recipe: its checker, its graph, the reference interpreter in f64.

use std::collections::BTreeMap;
use std::path::Path;

use crossloom_compiler::autodiff;
use crossloom_ir::interp::{run, run_all};
use crossloom_ir::{Func, Role, Tensor};
use crossloom_model::{
    BatchShape, GATE_RESULT, ModelGraph, Outputs, ParamSpec, build, encode_and_connect, inputs,
};
use crossloom_recipe::{
    Adapter, Edge, EdgeKind, LoadOptions, PointAddress, Recipe, Tap, Topology, load_text,
};

use crate::batch::Batch;
use crate::model::{Named, Parameters};

/// The model of a recipe on one batch.
pub(crate) struct Product {
    pub(crate) params: Vec<ParamSpec>,
    pub(crate) loss: f64,
    /// The last `[B, T, D]` of every decoder layer and injection, by scope.
    pub(crate) states: Named,
    /// By the names of edges.
    pub(crate) gates: Named,
    pub(crate) gradients: Named,
}

/// The only variant of a recipe's text.
pub(crate) fn load(text: &str) -> Result<Recipe, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/under-test.toml");
    let loaded = load_text(&path, text, &LoadOptions::default()).map_err(|e| format!("{e}\n{text}"))?;
    assert_eq!(loaded.variants.len(), 1);
    Ok(loaded.variants[0].recipe.clone())
}

fn edges(recipe: &Recipe) -> Vec<(Tap, PointAddress)> {
    Topology::new(recipe).unwrap().pairs()
}

fn arguments(func: &Func, batch: &Batch, parameters: &Parameters) -> Vec<Tensor<f64>> {
    let argument = |param: &crossloom_ir::Param| {
        let shape = func.shape(param.value);
        let numbers = match param.role {
            Role::Weight => {
                let (declared, numbers) = &parameters[&param.name];
                assert_eq!(declared, shape, "{}", param.name);
                numbers.clone()
            }
            _ => input(&param.name, batch),
        };
        Tensor::new(shape, numbers).unwrap_or_else(|e| panic!("{}: {e}", param.name))
    };
    func.params().iter().map(argument).collect()
}

fn input(name: &str, batch: &Batch) -> Vec<f64> {
    let prompt = batch.prompt;
    let of = |sequence: &crate::batch::Sequence| -> Vec<f64> {
        let whole = |numbers: &[usize]| numbers.iter().map(|&x| x as f64).collect();
        match name {
            inputs::PIXELS => sequence.pixels.clone(),
            inputs::TOKENS => whole(&sequence.tokens),
            inputs::POSITIONS => whole(&sequence.positions),
            inputs::SEGMENTS => sequence.segments.iter().map(|&x| f64::from(x)).collect(),
            inputs::IMAGE_INDEX => sequence.places.iter().map(|at| at.map_or(-1.0, |at| at as f64)).collect(),
            inputs::POOL_MASK => {
                let pooled = sequence.pooled(prompt);
                (0..sequence.tokens.len()).map(|t| f64::from(u8::from(pooled.contains(&t)))).collect()
            }
            inputs::TARGET_INDEX => sequence.targets.iter().map(|&(at, _)| at as f64).collect(),
            inputs::TARGETS => {
                sequence.targets.iter().map(|&(_, token)| token.map_or(-1.0, |token| token as f64)).collect()
            }
            other => panic!("unknown input `{other}`"),
        }
    };
    batch.sequences.iter().flat_map(of).collect()
}

fn shape(batch: &Batch) -> BatchShape {
    BatchShape { batch: batch.sequences.len(), tokens: batch.tokens, targets: batch.targets, views: None }
}

fn graph(recipe: &Recipe, batch: &Batch) -> ModelGraph {
    build(recipe, &edges(recipe), shape(batch), 0, Outputs::Loss).unwrap_or_else(|e| panic!("{e}"))
}

/// The parameters that the product declares for a recipe.
pub(crate) fn declared(recipe: &Recipe, batch: &Batch) -> BTreeMap<String, Vec<usize>> {
    graph(recipe, batch).params.into_iter().map(|param| (param.name, param.shape)).collect()
}

/// Builds the graph, differentiates it and runs it.
pub(crate) fn product(recipe: &Recipe, batch: &Batch, parameters: &Parameters) -> Product {
    let model = graph(recipe, batch);
    let forward = model.graph.lift().unwrap();
    let weights = forward.params().iter().filter(|param| param.role == Role::Weight);
    let weights: Vec<_> = weights.map(|param| param.value).collect();
    let func = autodiff::gradient(&forward, "loss", &weights).unwrap();
    let values = run_all(&func, &arguments(&func, batch, parameters)).unwrap_or_else(|e| panic!("{e}"));
    let value = |value: crossloom_ir::Value| values[value.index()].clone().unwrap();
    let results: BTreeMap<&str, Tensor<f64>> =
        func.results().iter().map(|result| (result.name.as_str(), value(result.value))).collect();

    let mut gates = Named::new();
    for (point, taps) in &model.gates {
        let given = &results[format!("{GATE_RESULT}{}", point.name()).as_str()];
        let numbers: usize = given.shape[2..].iter().product();
        assert_eq!(given.shape[..2], [batch.sequences.len(), taps.len()]);
        for (index, tap) in taps.iter().enumerate() {
            let edge = Edge { kind: EdgeKind::Injection, tap: tap.clone(), point: *point }.name();
            let own = given.data.chunks(numbers).skip(index).step_by(taps.len()).flatten().copied();
            gates.insert(edge, own.collect());
        }
    }
    let gradient = |(name, tensor): (&&str, &Tensor<f64>)| {
        Some((name.strip_prefix("grad.")?.to_owned(), tensor.data.clone()))
    };
    let width = recipe.model.language.hidden;
    let shape = [batch.sequences.len(), batch.tokens, width];
    let mut states = Named::new();
    for inst in forward.insts() {
        let scope = inst.scope.as_str();
        let Some(scope) =
            (scope.starts_with("inject.layer.").then_some(scope)).or_else(|| decoder_layer(scope))
        else {
            continue;
        };
        for &output in inst.outputs.iter().filter(|output| func.shape(**output) == shape) {
            let mut state = value(output).data;
            blank(&mut state, batch, width);
            states.insert(scope.to_owned(), state);
        }
    }
    Product {
        loss: results["loss"].data[0],
        gates,
        gradients: results.iter().filter_map(gradient).collect(),
        states,
        params: model.params,
    }
}

/// `language.layer.N` of a scope inside it.
fn decoder_layer(scope: &str) -> Option<&str> {
    let rest = scope.strip_prefix("language.layer.")?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    Some(&scope[..scope.len() - rest.len() + digits])
}

/// Zeros where a state belongs to padding.
fn blank(state: &mut [f64], batch: &Batch, width: usize) {
    let filled = batch.sequences.iter().flat_map(|s| (0..s.tokens.len()).map(|t| s.filled(t)));
    for (row, _) in state.chunks_mut(width).zip(filled).filter(|(_, filled)| !filled) {
        row.fill(0.0);
    }
}

/// The graph of the phases before the decoder: the input's visual tokens, and the features of every tap, or edge, by its name.
pub(crate) fn connected(
    recipe: &Recipe,
    batch: &Batch,
    parameters: &Parameters,
) -> (Vec<f64>, BTreeMap<String, Vec<f64>>) {
    let model = encode_and_connect(recipe, &edges(recipe), shape(batch), 0).unwrap();
    let func = model.graph.lift().unwrap();
    let results = run(&func, &arguments(&func, batch, parameters)).unwrap_or_else(|e| panic!("{e}"));
    let named = |name: &str| {
        let at = func.results().iter().position(|result| result.name == name).unwrap();
        results[at].data.clone()
    };
    let names: Vec<String> = match recipe.topology.main.adapter {
        Adapter::PerEdge { .. } => {
            let edge = |(tap, point)| Edge { kind: EdgeKind::Injection, tap, point }.name();
            edges(recipe).into_iter().map(edge).collect()
        }
        _ => recipe.topology.main.taps.iter().map(ToString::to_string).collect(),
    };
    let features = if names.is_empty() { Vec::new() } else { named(inputs::FEATURES) };
    let each = features.chunks((features.len() / names.len().max(1)).max(1)).map(<[f64]>::to_vec);
    (named(inputs::VISUAL), names.into_iter().zip(each).collect())
}
