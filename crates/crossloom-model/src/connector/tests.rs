//! Connectors beside PyTorch modules that `tests/oracle/make_connector_fixtures.py` writes from their equations.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use crossloom_compiler::autodiff;
use crossloom_graph::Tensor as Node;
use crossloom_ir::interp::run;
use crossloom_ir::{Role, Tensor, TensorType};
use crossloom_recipe::{LoadOptions, MmFuser, Part, Recipe, VisionAddress, load_text};
use safetensors::{Dtype, SafeTensors};

use super::mmfuser::Fuser;
use super::mol::{Level, MixtureOfLayers};
use super::top_k::{TopK, top_k};
use crate::params::Params;
use crate::{Init, initial_value};

fn recipe() -> Recipe {
    let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes");
    let text = std::fs::read_to_string(recipes.join("synthetic.toml")).unwrap();
    let loaded = load_text(&recipes.join("under-test.toml"), &text, &LoadOptions::default());
    loaded.unwrap_or_else(|e| panic!("{e}")).variants[0].recipe.clone()
}

type Tensors = BTreeMap<String, Tensor<f64>>;

fn fixture(name: &str) -> Tensors {
    let file = format!("src/connector/fixtures/{name}.safetensors");
    let bytes = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |view: safetensors::tensor::TensorView<'_>| {
        assert_eq!(view.dtype(), Dtype::F64);
        let data = view.data().chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap()));
        Tensor::new(view.shape(), data.collect()).unwrap()
    };
    file.iter().map(|(name, view)| (name.to_owned(), tensor(view))).collect()
}

fn under<'t>(tensors: &'t Tensors, prefix: &'t str) -> impl Iterator<Item = (&'t str, &'t Tensor<f64>)> {
    tensors.iter().filter_map(move |(name, tensor)| Some((name.strip_prefix(prefix)?, tensor)))
}

#[track_caller]
fn assert_close(given: &Tensor<f64>, expected: &Tensor<f64>, what: &str) {
    assert_eq!(given.shape, expected.shape, "{what}");
    let scale = expected.data.iter().fold(1e-3_f64, |m, x| m.max(x.abs()));
    for (at, (given, expected)) in given.data.iter().zip(&expected.data).enumerate() {
        let far = (given - expected).abs() / scale;
        assert!(far < 1e-9, "{what}: element {at} is {given}, should be {expected}");
    }
}

/// What `build` makes of inputs of those names, and the gradients by weights and inputs, are the fixture's; weights have the
/// fixture's names and shapes under `prefix`.
fn check(
    name: &str,
    prefix: &str,
    build: impl FnOnce(&mut Params, &BTreeMap<&str, Node>) -> Vec<(&'static str, Node)>,
) {
    let fixture = fixture(name);
    let mut p = Params::new(&recipe());
    let mut inputs = BTreeMap::new();
    for (name, tensor) in under(&fixture, "input.") {
        let ty = TensorType::f32(tensor.shape.clone());
        inputs.insert(name, p.graph.param(&format!("input.{name}"), Role::Input, ty));
    }
    let mut loss = p.graph.constant(0.0, &[]).unwrap();
    for (name, output) in build(&mut p, &inputs) {
        let shape = p.graph.shape(output).to_vec();
        let axes: Vec<usize> = (0..shape.len()).collect();
        let share = p.graph.param(&format!("share.{name}"), Role::Input, TensorType::f32(shape));
        let weighted = p.graph.mul(output, share).unwrap();
        let sum = p.graph.reduce_sum(weighted, &axes).unwrap();
        loss = p.graph.add(loss, sum).unwrap();
        p.graph.result(&format!("output.{name}"), output);
    }
    p.graph.result("loss", loss);
    let (graph, specs, _) = p.finish();
    let func = graph.finish().lift().unwrap_or_else(|e| panic!("{e}"));
    let declared: BTreeMap<&str, &[usize]> =
        specs.iter().map(|s| (s.name.strip_prefix(prefix).unwrap(), &s.shape[..])).collect();
    let expected: BTreeMap<&str, &[usize]> =
        under(&fixture, "weight.").map(|(n, t)| (n, &t.shape[..])).collect();
    assert_eq!(declared, expected);

    let wanted: Vec<_> = func
        .params()
        .iter()
        .filter(|param| !param.name.starts_with("share."))
        .map(|param| param.value)
        .collect();
    let func = autodiff::gradient(&func, "loss", &wanted).unwrap();
    let argument = |name: &str| match name.strip_prefix(prefix) {
        Some(weight) if !name.starts_with("input.") && !name.starts_with("share.") => {
            &fixture[&format!("weight.{weight}")]
        }
        _ => &fixture[name],
    };
    let args: Vec<Tensor<f64>> = func.params().iter().map(|param| argument(&param.name).clone()).collect();
    let results = run(&func, &args).unwrap();
    let mut compared = 0;
    for (result, given) in func.results().iter().zip(&results) {
        let name = match result.name.strip_prefix("grad.") {
            None if result.name == "loss" => continue,
            None => result.name.clone(),
            Some(input) if input.starts_with("input.") => input.replacen("input", "input_grad", 1),
            Some(weight) => format!("grad.{}", weight.strip_prefix(prefix).unwrap()),
        };
        assert_close(given, &fixture[&name], &name);
        compared += 1;
    }
    let outputs = ["output.", "grad.", "input_grad."].map(|kind| under(&fixture, kind).count());
    assert_eq!(compared, outputs.iter().sum::<usize>());
}

/// Inputs `state_0`, `state_1` and so on.
fn states(inputs: &BTreeMap<&str, Node>) -> Vec<Node> {
    inputs.iter().filter(|(name, _)| name.starts_with("state_")).map(|(_, &node)| node).collect()
}

#[test]
fn a_mixture_of_layers_is_its_equations() {
    for (name, level) in [("layer", Level::Layer), ("patch", Level::Patch), ("hybrid", Level::Hybrid)] {
        check(&format!("mol_{name}"), "mol.", |p, inputs| {
            let mol = MixtureOfLayers { of: (Part::Projector, "mol"), level, top_k: 2, width: 3 };
            let mixed = mol.mix(p, &states(inputs), inputs["reserve"], inputs["question"]).unwrap();
            vec![("state", mixed.state), ("shares", mixed.shares), ("imbalance", mixed.imbalance)]
        });
    }
}

fn declare(p: &mut Params, name: &str, shape: &[usize]) -> Node {
    p.graph.param(name, Role::Input, TensorType::f32(shape))
}

#[test]
fn mmfuser_begins_as_its_query() {
    let mut p = Params::new(&recipe());
    let (query, state) = (declare(&mut p, "query", &[1, 4, 6]), declare(&mut p, "state", &[1, 4, 6]));
    let (query_address, of) = (VisionAddress::Block(2), vec![VisionAddress::Block(1)]);
    let spec = MmFuser { query: query_address, of, heads: 2, points: 2 };
    let fuser = Fuser { of: (Part::Projector, "fuser"), spec: &spec, side: 2 };
    let fused = fuser.fuse(&mut p, query, &[state]).unwrap();
    p.graph.result("fused", fused);
    let (graph, specs, _) = p.finish();
    let func = graph.finish().lift().unwrap();
    let values = |name: &str, elements: usize| match specs.iter().find(|spec| spec.name == name) {
        Some(spec) => initial_value(spec.init, elements, 1, name),
        None => initial_value(Init::Uniform { std: 1.0 }, elements, 1, name),
    };
    let args: Vec<Tensor<f32>> = func
        .params()
        .iter()
        .map(|param| {
            let ty = func.ty(param.value);
            Tensor::new(ty.shape.clone(), values(&param.name, ty.elements())).unwrap()
        })
        .collect();
    assert_eq!(run(&func, &args).unwrap()[0].data, args[0].data);
}

#[test]
fn of_equal_scores_the_first_are_taken() {
    let scores = [[3.0, 1.0, 3.0, 3.0], [0.0, 0.0, 0.0, 0.0], [-5.0, -1.0, -9.0, -1.0], [1.0, 2.0, 3.0, 4.0]];
    let expected = [[1, 0, 1, 0], [1, 1, 0, 0], [0, 1, 0, 1], [0, 0, 1, 1]];
    let mut p = Params::new(&recipe());
    let input = declare(&mut p, "scores", &[4, 4]);
    let TopK { taken, shares } = top_k(&mut p, input, 2).unwrap();
    p.graph.result("taken", taken);
    p.graph.result("shares", shares);
    let func = p.finish().0.finish().lift().unwrap();
    let arg = Tensor::new([4, 4], scores.concat()).unwrap();
    let results = run(&func, &[arg]).unwrap();
    assert_eq!(results[0].data, expected.concat().iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
    for (row, shares) in scores.iter().zip(results[1].data.chunks(4)) {
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        let taken: Vec<usize> = (0..4).filter(|&i| shares[i] > 0.0).collect();
        assert_eq!(taken.len(), 2);
        let ratio = (row[taken[0]] - row[taken[1]]).exp();
        assert!((shares[taken[0]] / shares[taken[1]] - ratio).abs() < 1e-12);
    }
}
