//! Small models of the shipped recipes and a batch for them.

#![allow(dead_code, unreachable_pub, reason = "several test programs share this, and none uses all of it")]

use std::path::{Path, PathBuf};

use crossloom_compiler::training::{Group, Training, hyper_input};
use crossloom_compiler::{CompiledSet, Context, Mode, compile};
use crossloom_cpu::{CpuDevice, CpuTarget};
use crossloom_ir::{DType, Func, Role};
use crossloom_model::{BatchShape, Init, Outputs, ParamSpec, build, initial_value, inputs};
use crossloom_recipe::{LoadOptions, Part, Recipe, Topology, load, load_text};
use crossloom_runtime::{Arena, Executable, Session, Store};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The shipped recipes: of the checkout, or where `CROSSLOOM_RECIPES` says, for a test program that was carried elsewhere.
pub fn recipes() -> PathBuf {
    if let Some(folder) = std::env::var_os("CROSSLOOM_RECIPES") {
        return PathBuf::from(folder);
    }
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes")
}

/// A variant of `synthetic.toml`.
pub fn variant(name: &str) -> Recipe {
    let loaded = load(&recipes().join("synthetic.toml"), &LoadOptions::default());
    loaded.unwrap_or_else(|e| panic!("{e}")).variant(name).unwrap().recipe.clone()
}

/// Names of the methods that are shipped, in order.
pub fn methods() -> Vec<String> {
    let files = std::fs::read_dir(recipes().join("methods")).unwrap();
    let mut names: Vec<String> =
        files.map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A method on the models of `synthetic.toml`, changed by `sets`; `topology.*` and `model.projector.*` override the method's own.
pub fn method(name: &str, sets: &[&str]) -> Recipe {
    let text = std::fs::read_to_string(recipes().join("synthetic.toml")).unwrap();
    let (base, _) = text.split_once("[variants.").unwrap();
    let text = format!("{base}[variants.v]\nextends = [\"methods/{name}.toml\"]\n");
    let one = "data.questions_per_sequence=1";
    // One visual token more than patches, so that a text of some positions is left.
    let short: &[&str] = match name {
        "dense-connector-sti" => &["topology.input.also=['block.1']", "topology.input.pool=16"],
        "deepstack" => {
            &["topology.taps=['fine.1', 'fine.2']", "topology.points=['before layer.1', 'before layer.2']"]
        }
        "granite-vision" => &[
            "topology.wiring=[['block.2', 'before layer.1'], ['block.last', 'before layer.0'], \
             ['block.last', 'before layer.1'], ['block.last', 'before layer.2']]",
            "topology.adapter.corners=['before layer.2']",
            "model.projector.window=4",
            "model.projector.queries=2",
            "model.projector.hidden=40",
        ],
        "llama-3-2-vision" => &["topology.points=['before layer.1']"],
        _ => &[],
    };
    let of_method = |set: &str| set.starts_with("topology.") || set.starts_with("model.projector.");
    let own = |set: &&str| if of_method(set) { format!("variants.v.{set}") } else { (*set).to_owned() };
    let options = LoadOptions { sets: [one].iter().chain(short).chain(sets).map(own).collect() };
    let loaded = load_text(&recipes().join("under-test.toml"), &text, &options);
    loaded.unwrap_or_else(|e| panic!("{name}: {e}")).variants[0].recipe.clone()
}

/// Image of 16 positions, two questions of six positions with two answer tokens each, one position of padding.
pub const SHAPE: BatchShape = BatchShape { batch: 2, tokens: 29, targets: 5, views: None };
pub const VOCAB: usize = 13;
const IMAGE: usize = 16;
const QUESTION: usize = 6;

/// A model as a training step for the CPU.
pub struct Step {
    pub forward: Func,
    pub spec: Training,
    pub params: Vec<ParamSpec>,
    pub set: CompiledSet,
}

pub fn step(recipe: &Recipe, shape: BatchShape, accumulate: usize) -> Step {
    step_of(recipe, shape, accumulate, &Part::ALL)
}

/// The same, of which only those parts are trained.
pub fn step_of(recipe: &Recipe, shape: BatchShape, accumulate: usize, trained: &[Part]) -> Step {
    let topology = Topology::new(recipe).unwrap();
    let edges: Vec<_> = topology.pairs();
    let model = build(recipe, &edges, shape, VOCAB, Outputs::Loss).unwrap();
    let forward = model.graph.lift().unwrap();
    let groups = trained
        .iter()
        .map(|&part| Group {
            name: part.name().to_owned(),
            params: model.params.iter().filter(|p| p.part == part).map(|p| p.name.clone()).collect(),
            weight_decay: 0.1,
        })
        .filter(|group: &Group| !group.params.is_empty())
        .collect();
    let spec = Training { groups, beta1: 0.9, beta2: 0.99, eps: 1e-8, clip_norm: Some(1.0), accumulate };
    let set =
        compile(&forward, &Context::new(&CpuTarget, Mode::Train(&spec))).unwrap_or_else(|e| panic!("{e}"));
    Step { forward, spec, params: model.params, set }
}

/// The start value of a tensor that lives between calls. Nothing starts at zero, so that every branch is alive, and the
/// second moments are so large that an update is smooth in the gradient.
pub fn start(params: &[ParamSpec], name: &str, elements: usize) -> Vec<f32> {
    if name.starts_with("optimizer.v.") {
        return vec![1e-2; elements];
    }
    if name.starts_with("optimizer.") || name.starts_with("accumulate.") {
        return vec![0.0; elements];
    }
    let spec = params.iter().find(|p| p.name == name).unwrap();
    let mut values = initial_value(spec.init, elements, 7, name);
    if let Init::Constant(_) = spec.init {
        let noise = initial_value(Init::Uniform { std: 0.1 }, elements, 8, name);
        values.iter_mut().zip(noise).for_each(|(value, noise)| *value += noise);
    }
    values
}

/// An input of the model or the optimizer; whole numbers are exact.
pub fn input(name: &str, shape: &[usize], seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let elements: usize = shape.iter().product();
    let tokens = shape.get(1).copied().unwrap_or(1);
    let per_position = |f: &dyn Fn(usize) -> f32| (0..elements).map(|i| f(i % tokens)).collect::<Vec<_>>();
    // The place in its question of a position behind the image, and which question; `None` in the padding.
    let place =
        |t: usize| (t < IMAGE + 2 * QUESTION).then(|| ((t - IMAGE) % QUESTION, (t - IMAGE) / QUESTION));
    match name {
        inputs::PIXELS | inputs::QUESTION_VECTOR => {
            (0..elements).map(|_| rng.random_range(-1.0..1.0)).collect()
        }
        inputs::TOKENS => (0..elements).map(|_| rng.random_range(0..VOCAB) as f32).collect(),
        inputs::POSITIONS => per_position(&|t| {
            if t < IMAGE { t as f32 } else { place(t).map_or(0.0, |(at, _)| (IMAGE + at) as f32) }
        }),
        inputs::SEGMENTS => {
            per_position(&|t| if t < IMAGE { 0.0 } else { place(t).map_or(-1.0, |(_, q)| (q + 1) as f32) })
        }
        inputs::IMAGE_INDEX => per_position(&|n| n as f32),
        inputs::POOL_MASK => per_position(&|t| {
            f32::from(u8::from(t < IMAGE || place(t).is_some_and(|(at, _)| at < QUESTION - 2)))
        }),
        inputs::TEXT_MASK => per_position(&|t| f32::from(u8::from(t >= IMAGE && place(t).is_some()))),
        inputs::QUESTION_MASK => per_position(&|t| {
            f32::from(u8::from(t >= IMAGE && place(t).is_some_and(|(at, _)| at < QUESTION - 2)))
        }),
        inputs::TARGET_INDEX => per_position(&|m| [19.0, 20.0, 25.0, 26.0, 0.0][m]),
        inputs::TARGETS => (0..elements)
            .map(|i| if i % tokens == 4 { -1.0 } else { rng.random_range(0..VOCAB) as f32 })
            .collect(),
        "micro_weight" => vec![0.5],
        _ if name.starts_with("hyper.") => vec![1e-2, 1.5, 1.2],
        _ => panic!("unknown input `{name}`"),
    }
}

/// A plan on the CPU, with a store and an arena of its own.
pub fn session(plan: crossloom_compiler::Plan) -> Session {
    let device = CpuDevice::shared();
    let arena = Arena::new(&Store::new(&device).unwrap());
    Session::new(&Executable::new(&device, plan).unwrap(), &arena).unwrap()
}

/// Writes all inputs of a session.
pub fn feed(session: &mut Session, seed: u64) {
    let func = session.plan().func.clone();
    for param in func.params().iter().filter(|p| p.role == Role::Input) {
        let values = input(&param.name, func.shape(param.value), seed);
        match func.ty(param.value).dtype {
            DType::F32 => session.write(&param.name, &values).unwrap(),
            DType::I32 => {
                let ids: Vec<i32> = values.into_iter().map(|x| x as i32).collect();
                session.write(&param.name, &ids).unwrap();
            }
            other => panic!("{other} as an input"),
        }
    }
}

/// Writes the start values of a store.
pub fn fill(store: &Store, params: &[ParamSpec]) {
    for tensor in store.tensors() {
        store.write(&tensor.name, &start(params, &tensor.name, tensor.ty.elements())).unwrap();
    }
}

/// The groups' hyper-parameter inputs.
pub fn hypers(spec: &Training) -> Vec<String> {
    spec.groups.iter().map(|group| hyper_input(&group.name)).collect()
}
