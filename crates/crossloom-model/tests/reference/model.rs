//! The models of the fixtures as recipes, and their arguments.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use crossloom_ir::{Func, Tensor};
use crossloom_model::{BatchShape, ModelGraph, Outputs, build, inputs};
use crossloom_recipe::{LoadOptions, Recipe, load_text};

use crate::fixture::Fixture;

/// LLaVA-1.5 in small.
pub(crate) const CLIP_LLAMA: &str = r#"
[model.vision]
family = "vit"
image_size = 12
patch_size = 4
hidden = 16
layers = 3
heads = 2
mlp = 24
activation = "quick_gelu"
norm_eps = 1e-3
class_token = true
pre_norm = true
patch_bias = false

[model.language]
family = "llama"
hidden = 20
layers = 2
heads = 4
kv_heads = 2
head_dim = 6
mlp = 24
norm_eps = 1e-3
tie_embeddings = false
vocab_size = 29

[topology]
input = "block.2"
"#;

/// SigLIP and Qwen2, as in LLaVA-OneVision, but for the last norm.
pub(crate) const SIGLIP_QWEN2: &str = r#"
[model.vision]
family = "vit"
image_size = 14
patch_size = 4
hidden = 18
layers = 2
heads = 3
mlp = 24
activation = "gelu_tanh"
norm_eps = 1e-4
post_norm = true

[model.language]
family = "qwen2"
hidden = 16
layers = 2
heads = 4
kv_heads = 1
mlp = 24
rope_theta = 1e6
norm_eps = 1e-4
tie_embeddings = true
vocab_size = 29

[topology]
input = "post_norm"
"#;

/// The same keys for all: what is not the model's.
const REST: &str = r#"
[data]
source = "easy-vqa"
questions_per_sequence = 1

[train]
steps = 1
batch_size = 1
lr = 1
warmup = 0

[variants.projector]
extends = ["methods/projector.toml"]
"#;

/// A case of a fixture.
pub(crate) struct Case {
    pub(crate) fixture: Fixture,
    recipe: Recipe,
    name: &'static str,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.fixture.name, self.name)
    }
}

impl Case {
    pub(crate) fn new(models: &str, fixture: Fixture, name: &'static str) -> Self {
        let text = format!("name = 'm'\n{models}{REST}");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/under-test.toml");
        let loaded = load_text(&path, &text, &LoadOptions::default());
        let recipe = loaded.unwrap_or_else(|e| panic!("{e}")).variants[0].recipe.clone();
        Self { fixture, recipe, name }
    }

    /// A tensor of the case.
    pub(crate) fn tensor(&self, name: &str) -> &Tensor<f64> {
        self.fixture.get(&format!("{}/{name}", self.name))
    }

    /// The tensors of the case under a prefix.
    pub(crate) fn expected(&self, prefix: &str) -> BTreeMap<&str, &Tensor<f64>> {
        self.fixture.under(&format!("{}/{prefix}", self.name))
    }

    /// The model for the case's batch.
    pub(crate) fn build(&self, outputs: Outputs) -> ModelGraph {
        let [batch, tokens] = self.shape(inputs::TOKENS);
        let [_, targets] = self.shape(inputs::TARGET_INDEX);
        build(&self.recipe, &[], BatchShape { batch, tokens, targets }, 0, outputs).unwrap()
    }

    fn shape(&self, input: &str) -> [usize; 2] {
        self.tensor(&format!("input.{input}")).shape[..].try_into().unwrap()
    }

    /// Weights and inputs from the fixture; nothing is pooled.
    pub(crate) fn arguments(&self, func: &Func) -> Vec<Tensor<f64>> {
        let given = self.expected("input.");
        let argument = |p: &crossloom_ir::Param| match given.get(p.name.as_str()) {
            Some(&tensor) => tensor.clone(),
            None if p.name == inputs::POOL_MASK => Tensor::splat(func.shape(p.value), 0.0),
            None => self.fixture.get(&p.name).clone(),
        };
        func.params().iter().map(argument).collect()
    }

    /// Zeros where a state `[B, T, D]` belongs to padding, as in the fixture.
    pub(crate) fn blank_padding(&self, state: &mut Tensor<f64>) {
        let width = state.last();
        let segments = &self.tensor(&format!("input.{}", inputs::SEGMENTS)).data;
        for (row, _) in segments.iter().enumerate().filter(|(_, segment)| **segment == -1.0) {
            state.data[row * width..(row + 1) * width].fill(0.0);
        }
    }
}
