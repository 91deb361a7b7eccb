//! Shipped methods on small and on published models.

use std::path::{Path, PathBuf};

use crossloom_ir::interp::run;
use crossloom_ir::{Func, Role, Tensor};
use crossloom_model::{BatchShape, ModelGraph, Outputs, build, initial_value, inputs};
use crossloom_recipe::{LoadOptions, Recipe, Topology, load_text};

pub(crate) const VOCAB: usize = 11;
/// 16 image positions of 32 x 32 pixels in patches of 8, and a text of five.
pub(crate) const SHAPE: BatchShape = BatchShape { batch: 2, tokens: 21, targets: 2, views: None };

pub(crate) fn recipes() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes")
}

/// Every shipped method.
pub(crate) fn methods() -> Vec<String> {
    let files = std::fs::read_dir(recipes().join("methods")).unwrap();
    let mut names: Vec<String> =
        files.map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()).collect();
    names.sort();
    assert!(names.len() >= 11, "{names:?}");
    names
}

/// A method on the models that the text declares; `topology.*` and `model.projector.*` override the method's own.
fn load(models: &str, method: &str, sets: &[&str]) -> Recipe {
    let text = format!("{models}[variants.v]\nextends = [\"methods/{method}.toml\"]\n");
    let of_method = |set: &str| set.starts_with("topology.") || set.starts_with("model.projector.");
    let own = |set: &&str| if of_method(set) { format!("variants.v.{set}") } else { (*set).to_owned() };
    let sets = sets.iter().chain(&["data.questions_per_sequence=1"]).map(own).collect();
    let loaded = load_text(&recipes().join("under-test.toml"), &text, &LoadOptions { sets });
    loaded.unwrap_or_else(|e| panic!("{method}: {e}")).variants[0].recipe.clone()
}

/// Granite's map and windows for four blocks of four by four patches and three layers, two edges into one of them.
const GRANITE: [&str; 5] = [
    "topology.wiring=[['block.2', 'before layer.1'], ['block.last', 'before layer.0'], \
     ['block.last', 'before layer.1'], ['block.last', 'before layer.2']]",
    "topology.adapter.corners=['before layer.2']",
    "model.projector.window=4",
    "model.projector.queries=2",
    "model.projector.hidden=40",
];

/// A method on the models of `synthetic.toml`: four vision blocks and three decoder layers of width 32.
pub(crate) fn small(method: &str, sets: &[&str]) -> Recipe {
    let text = std::fs::read_to_string(recipes().join("synthetic.toml")).unwrap();
    // One visual token more than patches, so that a text of some positions is left.
    let short = ["topology.input.also=['block.1']", "topology.input.pool=16"];
    let stacks =
        ["topology.taps=['fine.1', 'fine.2']", "topology.points=['before layer.1', 'before layer.2']"];
    let sets = &match method {
        "dense-connector-sti" => [&short[..], sets].concat(),
        "deepstack" => [&stacks[..], sets].concat(),
        "granite-vision" => [&GRANITE[..], sets].concat(),
        "llama-3-2-vision" => [&["topology.points=['before layer.1']"][..], sets].concat(),
        _ => sets.to_vec(),
    };
    load(text.split_once("[variants.").unwrap().0, method, sets)
}

/// CLI at one point, a second gated injection that shares a tap with it, and one that text reads in every pass.
pub(crate) fn several() -> Recipe {
    let sets = [
        "topology.taps=['block.2', 'block.3']",
        "topology.points=['before layer.0']",
        "topology.gate.pool=image",
        "topology.injections.deep={ taps = ['block.2'], points = ['inside layer.1'], adapter = 'linear', \
         gate = { kind = 'agf', pool = 'image', share = 'global' } }",
        "topology.injections.read={ taps = ['block.1', 'block.2'], points = ['before layer.2'], adapter = 'per_tap', \
         fusion = 'cross_attention', mask = 'text' }",
    ];
    small("cli", &sets)
}

/// A method on published models.
pub(crate) fn published(vision: &str, language: &str, method: &str, sets: &[&str]) -> Recipe {
    let text = format!(
        "name = 'm'\n[model]\nvision.preset = '{vision}'\nlanguage.preset = '{language}'\n[data]\nsource = 'easy-vqa'\n\
         [train]\nsteps = 1\nbatch_size = 1\nlr = 1\nwarmup = 0\n"
    );
    load(&text, method, sets)
}

pub(crate) fn graph(recipe: &Recipe, shape: BatchShape) -> ModelGraph {
    let topology = Topology::new(recipe).unwrap();
    let edges: Vec<_> = topology.pairs();
    build(recipe, &edges, shape, VOCAB, Outputs::Predictions).unwrap_or_else(|e| panic!("{e}"))
}

/// Arguments: every parameter at its start value, changed by `weight`; pixels that depend on their place; one question.
pub(crate) fn arguments(
    model: &ModelGraph,
    func: &Func,
    weight: impl Fn(&str, Vec<f32>) -> Vec<f32>,
) -> Vec<Tensor<f64>> {
    let argument = |p: &crossloom_ir::Param| {
        let shape = func.shape(p.value);
        let elements: usize = shape.iter().product();
        if p.role == Role::Weight {
            let spec = model.params.iter().find(|spec| spec.name == p.name).unwrap();
            let values = weight(&p.name, initial_value(spec.init, elements, 5, &p.name));
            return Tensor::from_fn(shape, |i| f64::from(values[i]));
        }
        let at = |i: usize| i % shape[1];
        Tensor::from_fn(shape, |i| match p.name.as_str() {
            inputs::PIXELS => (i as f64 * 0.37).sin(),
            inputs::TOKENS => (i * 7 % VOCAB) as f64,
            inputs::POSITIONS | inputs::IMAGE_INDEX => at(i) as f64,
            inputs::SEGMENTS | inputs::TEXT_MASK => f64::from(u8::from(at(i) >= 16)),
            inputs::TEXT_SEGMENTS => {
                if at(i) < 16 {
                    -1.0
                } else {
                    1.0
                }
            }
            mask if inputs::of_injection(mask, inputs::POOL_MASK) => f64::from(u8::from(at(i) < 19)),
            inputs::QUESTION_MASK => f64::from(u8::from((16..19).contains(&at(i)))),
            inputs::TARGETS => (i * 5 % VOCAB) as f64,
            inputs::TARGET_INDEX => 18.0 + at(i) as f64,
            other => panic!("unknown input `{other}`"),
        })
    };
    func.params().iter().map(argument).collect()
}

/// Logits with weights changed by `weight`.
pub(crate) fn logits(recipe: &Recipe, weight: impl Fn(&str, Vec<f32>) -> Vec<f32>) -> Vec<f64> {
    let model = graph(recipe, SHAPE);
    let func = model.graph.lift().unwrap();
    let args = arguments(&model, &func, weight);
    let at = func.results().iter().position(|result| result.name == "logits").unwrap();
    run(&func, &args).unwrap_or_else(|e| panic!("{e}")).remove(at).data
}

/// The largest difference of two results.
pub(crate) fn farthest(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}
