//! Every shipped method as a whole model, run four ways: its luminal graph as it is, taken apart into luminal's
//! primitives and compiled by luminal's own CPU compiler, by the reference interpreter, and as one compiled region.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use crossloom_cpu::CpuDevice;
use crossloom_graph::{DeviceRegions, LuminalGraph, decompose};
use crossloom_ir::{DType, Func, Role, Tensor, interp};
use crossloom_model::{BatchShape, ModelGraph, Outputs, build, initial_value, inputs};
use crossloom_recipe::{LoadOptions, Recipe, Topology, load_text};

/// Two vision blocks of four tokens and two decoder layers: luminal's own kernels interpret every element.
const MODELS: &str = "name = 'tiny'
[model]
vision = { family = 'vit', image_size = 8, patch_size = 4, hidden = 8, layers = 4, heads = 2, mlp = 12, post_norm = true }
language = { family = 'llama', hidden = 8, layers = 2, heads = 2, kv_heads = 1, mlp = 12, max_positions = 32 }
[topology]
input = 'post_norm'
[data]
source = 'easy-vqa'
[train]
steps = 1
batch_size = 1
lr = 1e-3
warmup = 0
";
const IMAGE_TOKENS: usize = 4;
const VOCAB: usize = 7;
const SHAPE: BatchShape = BatchShape { batch: 2, tokens: 8, targets: 2, views: None };
const TOLERANCE: f32 = 2e-5;

fn recipes() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes")
}

fn methods() -> Vec<String> {
    let files = std::fs::read_dir(recipes().join("methods")).unwrap();
    let stem = |entry: std::fs::DirEntry| entry.path().file_stem().unwrap().to_str().unwrap().to_owned();
    let mut names: Vec<String> = files.map(|entry| stem(entry.unwrap())).collect();
    names.sort();
    names
}

fn load(method: &str, own: &str) -> Recipe {
    let text = format!("{MODELS}[variants.v]\nextends = ['methods/{method}.toml']\n{own}");
    let loaded = load_text(&recipes().join("under-test.toml"), &text, &LoadOptions { sets: Vec::new() });
    loaded.unwrap_or_else(|e| panic!("{method}: {e}")).variants[0].recipe.clone()
}

/// Whether a method, or the one that it extends, injects nothing into layers.
fn is_at_input(method: &str) -> bool {
    let text = std::fs::read_to_string(recipes().join(format!("methods/{method}.toml"))).unwrap();
    let extended = text.split_once("extends = [\"").and_then(|(_, rest)| rest.split_once(".toml"));
    text.contains("taps = []") || extended.is_some_and(|(file, _)| is_at_input(file))
}

fn recipe(method: &str) -> Recipe {
    // Four patches are not more than one token of eight, and two layers not enough for four stacks.
    let small = match method {
        "dense-connector-sti" => "topology.input.pool = 4\n",
        "granite-vision" => {
            "model.projector = { window = 2, queries = 1, hidden = 12 }\n\
             topology.wiring = [['block.2', 'before layer.0'], ['block.4', 'before layer.0'], ['block.4', 'before layer.1']]\n\
             topology.adapter.corners = ['before layer.1']\n"
        }
        "llama-3-2-vision" => "topology.points = ['before layer.1']\n",
        "lsf-internal-modular" => {
            "topology.taps = ['block.1', 'block.2']\ntopology.points = ['attention layer.0', 'attention layer.1']\n"
        }
        "deepstack" => {
            "topology.taps = ['fine.1', 'fine.2']\ntopology.points = ['before layer.0', 'before layer.1']\n"
        }
        _ => "",
    };
    if !small.is_empty() {
        return load(method, small);
    }
    if is_at_input(method) {
        return load(method, "");
    }
    let taps = match method {
        // These take one layer.
        "broadcast-last-agf" | "deepstack-broadcast" => "topology.taps = ['block.2']\n",
        _ => "topology.taps = ['block.1', 'block.2']\n",
    };
    load(method, &format!("{taps}topology.points = ['before layer.0', 'before layer.1']\n"))
}

fn model(recipe: &Recipe) -> ModelGraph {
    let topology = Topology::new(recipe).unwrap();
    let edges: Vec<_> = topology.pairs();
    build(recipe, &edges, SHAPE, VOCAB, Outputs::Predictions).unwrap()
}

/// A parameter's elements, ids as floats: weights moved off their start so that no branch is zero.
fn values(model: &ModelGraph, func: &Func, param: &crossloom_ir::Param) -> Vec<f32> {
    let shape = func.shape(param.value);
    let elements: usize = shape.iter().product();
    if param.role == Role::Weight {
        let spec = model.params.iter().find(|spec| spec.name == param.name).unwrap();
        let start = initial_value(spec.init, elements, 3, &param.name);
        return start.iter().enumerate().map(|(i, x)| x + 0.1 * (1.7 * i as f32).sin()).collect();
    }
    let at = |i: usize| i % shape[1];
    let value = |i: usize| match param.name.as_str() {
        inputs::PIXELS => (0.37 * i as f32).sin(),
        inputs::TOKENS => (3 * i % VOCAB) as f32,
        inputs::POSITIONS | inputs::IMAGE_INDEX => at(i) as f32,
        inputs::SEGMENTS | inputs::QUESTION_MASK => f32::from(u8::from(at(i) >= IMAGE_TOKENS)),
        inputs::POOL_MASK => f32::from(u8::from(at(i) < IMAGE_TOKENS + 2)),
        inputs::TARGET_INDEX => (IMAGE_TOKENS + 1 + at(i)) as f32,
        other => panic!("unknown input `{other}`"),
    };
    (0..elements).map(value).collect()
}

/// Runs a graph and reads logits and gates.
fn run(graph: &mut LuminalGraph, given: &[(String, DType, Vec<f32>)], results: &[String]) -> Vec<Vec<f32>> {
    for (name, dtype, values) in given {
        match dtype {
            DType::F32 => graph.set(name, values).unwrap(),
            DType::I32 => {
                graph.set_ids(name, &values.iter().map(|&id| id as i32).collect::<Vec<_>>()).unwrap();
            }
            other => panic!("a graph takes no input of type {other}"),
        }
    }
    graph.execute().unwrap();
    results.iter().map(|name| graph.get(name).unwrap()).collect()
}

fn assert_close(what: &str, given: &[Vec<f32>], expected: &[Vec<f32>]) {
    assert_eq!(given.len(), expected.len(), "{what}");
    for (given, expected) in given.iter().zip(expected) {
        assert_eq!(given.len(), expected.len(), "{what}");
        for (x, y) in given.iter().zip(expected) {
            assert!((x - y).abs() <= TOLERANCE * y.abs().max(1.0), "{what}: {x}, not {y}");
        }
    }
}

#[test]
fn every_method_computes_the_same_four_ways() {
    for method in methods() {
        let mut model = model(&recipe(&method));
        let func = model.graph.lift().unwrap();
        let given: Vec<_> = (func.params().iter())
            .map(|param| (param.name.clone(), func.ty(param.value).dtype, values(&model, &func, param)))
            .collect();
        let args: Vec<Tensor<f32>> = (func.params().iter().zip(&given))
            .map(|(param, (_, _, values))| Tensor {
                shape: func.shape(param.value).to_vec(),
                data: values.clone(),
            })
            .collect();
        let float = |value| func.ty(value).dtype == DType::F32;
        let (names, expected): (Vec<String>, Vec<Vec<f32>>) = (func.results().iter())
            .zip(interp::run(&func, &args).unwrap())
            .filter(|(result, _)| float(result.value))
            .map(|(result, tensor)| (result.name.clone(), tensor.data))
            .unzip();
        assert!(expected.iter().flatten().all(|x| x.is_finite()));
        let spread = |x: &[f32]| {
            x.iter().copied().fold(f32::MIN, f32::max) - x.iter().copied().fold(f32::MAX, f32::min)
        };
        assert!(spread(&expected[0]) > 0.1, "{method}: logits that differ");

        let mut primitives = decompose(&func).unwrap_or_else(|e| panic!("{method}: {e}"));
        primitives.compile_luminal_cpu().unwrap();
        let what = format!("{method}: luminal's primitives and compiler");
        assert_close(&what, &run(&mut primitives, &given, &names), &expected);
        let what = format!("{method}: plain luminal");
        assert_close(&what, &run(&mut model.graph, &given, &names), &expected);
        model.graph.compile_region(&DeviceRegions(CpuDevice::shared())).unwrap();
        assert_close(&format!("{method}: compiled"), &run(&mut model.graph, &given, &names), &expected);
    }
}
