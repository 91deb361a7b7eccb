//! The models of the fixtures as recipes that name them, and their arguments.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use crossloom_ir::{Func, Param, Real, Role, Tensor};
use crossloom_model::{BatchShape, ModelGraph, Outputs, build, inputs};
use crossloom_recipe::{Architecture, LoadOptions, PointAddress, Recipe, Tap, Topology, load_with};
use crossloom_weights::Pretrained;

use crate::fixture::Fixture;

/// A recipe, and the folder of fixtures that its weights are in.
#[derive(Clone, Copy)]
pub(crate) struct Model {
    recipe: &'static str,
    folder: &'static str,
    /// Folders within; one without a name where all is one model.
    parts: &'static [&'static str],
}

pub(crate) const CLIP_LLAMA: Model = Model { recipe: "clip_llama.toml", folder: "clip_llama", parts: &[""] };
pub(crate) const CLIP_LLAMA_LAYERS: Model =
    Model { recipe: "clip_llama_layers.toml", folder: "clip_llama_layers", parts: &[""] };
pub(crate) const SIGLIP_QWEN2: Model =
    Model { recipe: "siglip_qwen2.toml", folder: "siglip_qwen2", parts: &[""] };
pub(crate) const SIGLIP_QWEN2_NORMED: Model = Model { recipe: "siglip_qwen2_normed.toml", ..SIGLIP_QWEN2 };
pub(crate) const DINOV2_QWEN3: Model =
    Model { recipe: "dinov2_qwen3.toml", folder: "dinov2_qwen3", parts: &["dinov2", "qwen3"] };

pub(crate) const SIGLIP_GRANITE: Model =
    Model { recipe: "siglip_granite.toml", folder: "siglip_granite", parts: &["siglip", "granite"] };
pub(crate) const GRANITE_VISION: Model =
    Model { recipe: "granite_vision.toml", folder: "granite_vision", parts: &[""] };
pub(crate) const QWEN3_VL: Model = Model { recipe: "qwen3_vl.toml", folder: "qwen3_vl", parts: &[""] };

/// A recipe whose dimensions are those of the configurations that its weights have.
fn recipe(file: &str) -> Recipe {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(file);
    let read = |path: &Path| -> Result<Architecture, Vec<String>> {
        Pretrained::open(path).map(|model| model.architecture().clone()).map_err(|error| error.problems)
    };
    let loaded = load_with(&path, &LoadOptions::default(), &read);
    loaded.unwrap_or_else(|e| panic!("{e}")).variants[0].recipe.clone()
}

/// A case of a fixture.
pub(crate) struct Case {
    pub(crate) fixture: Fixture,
    pub(crate) recipe: Recipe,
    name: String,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Case {
    pub(crate) fn new(model: Model, case: &str, gradients_of: &str) -> Self {
        let fixture = Fixture::load(model.folder, model.parts, case, gradients_of);
        Self { fixture, recipe: recipe(model.recipe), name: format!("{}, {case}", model.recipe) }
    }

    /// A tensor of the case.
    pub(crate) fn tensor(&self, name: &str) -> &Tensor<f64> {
        self.fixture.get(name)
    }

    /// An input of the case.
    pub(crate) fn input(&self, name: &str) -> &Tensor<f64> {
        self.fixture.get(&format!("input.{name}"))
    }

    /// What the published logits lose on every target.
    pub(crate) fn losses(&self) -> Tensor<f64> {
        let (logits, targets) = (self.tensor("logits"), self.input(inputs::TARGETS));
        let classes = logits.last();
        let loss = |row: usize| {
            let row_of = &logits.data[row * classes..(row + 1) * classes];
            let lse = row_of.iter().map(|x| x.exp()).sum::<f64>().ln();
            if targets.at(row) < 0.0 { 0.0 } else { lse - row_of[targets.at(row) as usize] }
        };
        Tensor::from_fn([targets.data.len()], loss)
    }

    /// The model for the case's batch.
    pub(crate) fn build(&self, outputs: Outputs) -> ModelGraph {
        let [batch, tokens] = self.shape(inputs::TOKENS);
        let [_, targets] = self.shape(inputs::TARGET_INDEX);
        build(&self.recipe, &self.edges(), BatchShape { batch, tokens, targets, views: None }, 0, outputs)
            .unwrap()
    }

    /// What the model injects.
    pub(crate) fn edges(&self) -> Vec<(Tap, PointAddress)> {
        Topology::new(&self.recipe).unwrap().pairs()
    }

    fn shape(&self, input: &str) -> [usize; 2] {
        self.input(input).shape[..].try_into().unwrap()
    }

    /// Rows that ask about a picture.
    pub(crate) fn with_picture(&self) -> Vec<usize> {
        let index = self.input(inputs::IMAGE_INDEX);
        (0..index.shape[0]).filter(|&row| index.row(row)[0] >= 0.0).collect()
    }

    /// Weights and inputs from the fixture; nothing is pooled.
    pub(crate) fn arguments<T: Real>(&self, func: &Func) -> Vec<Tensor<T>> {
        func.params().iter().map(|p| number_type(&self.argument(func, p))).collect()
    }

    /// One of them.
    pub(crate) fn argument(&self, func: &Func, p: &Param) -> Tensor<f64> {
        match self.fixture.under("input.").get(p.name.as_str()) {
            Some(&tensor) => tensor.clone(),
            None if p.name == inputs::POOL_MASK => Tensor::splat(func.shape(p.value), 0.0),
            None => self.fixture.weight(&p.name),
        }
    }

    /// Runs a graph of a phase on weights, state and inputs by the reference; the state becomes what the graph makes of it.
    pub(crate) fn interpreted<T: Real>(
        &self,
        model: &ModelGraph,
        state: &mut BTreeMap<String, Tensor<T>>,
        given: &BTreeMap<&str, Tensor<f64>>,
    ) -> BTreeMap<String, Tensor<T>> {
        let func = model.graph.lift().unwrap();
        let argument = |p: &Param| match p.role {
            Role::Weight => number_type(&self.fixture.weight(&p.name)),
            // Whatever is in a cache behind a sequence's length does not matter.
            Role::State => {
                state.get(&p.name).cloned().unwrap_or_else(|| Tensor::splat(func.shape(p.value), 7.0))
            }
            Role::Input => {
                let found = given.get(p.name.as_str());
                number_type(found.unwrap_or_else(|| panic!("{self}: no input `{}`", p.name)))
            }
        };
        let arguments: Vec<_> = func.params().iter().map(argument).collect();
        let results = crossloom_ir::interp::run(&func, &arguments).unwrap_or_else(|e| panic!("{self}: {e}"));
        let mut named = BTreeMap::new();
        for (result, tensor) in func.results().iter().zip(results) {
            let to = if result.updates.is_some() { &mut *state } else { &mut named };
            to.insert(result.name.clone(), tensor);
        }
        named
    }

    /// Zeros where a state `[B, T, D]` belongs to padding, as in the fixture.
    pub(crate) fn blank_padding(&self, state: &mut Tensor<f64>) {
        let width = state.last();
        let segments = &self.input(inputs::SEGMENTS).data;
        for (row, _) in segments.iter().enumerate().filter(|(_, segment)| **segment == -1.0) {
            state.data[row * width..(row + 1) * width].fill(0.0);
        }
    }

    /// Of a state `[B, ..]` of the vision tower the pictures that are asked about, as in the fixture.
    pub(crate) fn asked_pictures(&self, state: &Tensor<f64>) -> Tensor<f64> {
        let rows = self.with_picture();
        let size = state.data.len() / state.shape[0];
        let mut shape = state.shape.clone();
        shape[0] = rows.len();
        Tensor::from_fn(shape, |i| state.data[rows[i / size] * size + i % size])
    }
}

/// The same numbers in another type.
pub(crate) fn number_type<T: Real, U: Real>(t: &Tensor<T>) -> Tensor<U> {
    Tensor::from_fn(t.shape.clone(), |i| t.at(i))
}
