//! What is computed: a function of a recipe with values for all that it reads.

use std::collections::BTreeMap;
use std::path::Path;

use crossloom_ir::{DType, Func, Role};
use crossloom_model::{BatchShape, Init, Outputs, ParamSpec, initial_value, inputs};
use crossloom_recipe::{LoadOptions, load};
use crossloom_run::graph::{forward_func, training_func};
use crossloom_run::stages::Shapes;

/// What is built of a recipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Predictions.
    Forward,
    /// The loss of a batch.
    Loss,
}

/// Numbers of a parameter.
#[derive(Clone, Debug)]
pub(crate) enum Values {
    /// Floats.
    Floats(Vec<f32>),
    /// Ids.
    Ids(Vec<i32>),
}

/// A function and its arguments.
pub(crate) struct Function {
    /// The recipe's name and that of the variant.
    pub(crate) name: [String; 2],
    pub(crate) kind: Kind,
    pub(crate) shapes: Shapes,
    pub(crate) func: Func,
    /// Weights by name.
    pub(crate) weights: BTreeMap<String, Vec<f32>>,
    /// Inputs by name.
    pub(crate) inputs: BTreeMap<String, Values>,
}

/// Of all values that are drawn.
const SEED: u64 = 1;

impl Function {
    /// The function of a variant, at the sizes that a run of it has, with its start weights.
    pub(crate) fn new(
        recipe: &Path,
        variant: Option<&str>,
        sets: &[String],
        kind: Kind,
    ) -> Result<Self, String> {
        let loaded = load(recipe, &LoadOptions { sets: sets.to_vec() }).map_err(|error| error.to_string())?;
        let names = || loaded.variants.iter().map(|v| v.name.as_str()).collect::<Vec<_>>().join(", ");
        let chosen = match (variant, &loaded.variants[..]) {
            (None, [only]) => only,
            (None, _) => {
                return Err(format!("the recipe has several variants, --variant names one: {}", names()));
            }
            (Some(name), all) => (all.iter().find(|v| v.name == name))
                .ok_or_else(|| format!("there is no variant `{name}`, but {}", names()))?,
        };
        let recipe = &chosen.recipe;
        let told = |error: crossloom_run::ExperimentError| error.to_string();
        let shapes = Shapes::of(recipe).map_err(told)?;
        let (model, func) = match kind {
            Kind::Forward => forward_func(recipe, shapes.batch, shapes.vocab, Outputs::Predictions),
            Kind::Loss => training_func(recipe, shapes.batch, shapes.vocab),
        }
        .map_err(told)?;
        let specs: BTreeMap<&str, &ParamSpec> =
            model.params.iter().map(|spec| (spec.name.as_str(), spec)).collect();
        let visual = recipe.visual_positions();
        let (mut weights, mut inputs) = (BTreeMap::new(), BTreeMap::new());
        for param in func.params() {
            let ty = func.ty(param.value);
            let name = param.name.clone();
            match (param.role, ty.dtype) {
                (Role::Input, DType::I32) => {
                    let ids = ids(&name, &ty.shape, shapes, visual)?;
                    inputs.insert(name, Values::Ids(ids));
                }
                (Role::Input, _) => {
                    let values = floats(&name, ty.elements(), shapes.batch, visual);
                    inputs.insert(name, Values::Floats(values));
                }
                (Role::Weight | Role::State, _) => {
                    let spec = specs.get(name.as_str()).ok_or_else(|| format!("`{name}` is no weight"))?;
                    weights.insert(name.clone(), initial_value(spec.init, ty.elements(), SEED, &name));
                }
            }
        }
        let name = [recipe.name.clone(), chosen.name.clone()];
        Ok(Self { name, kind, shapes, func, weights, inputs })
    }
}

/// Every sequence is a picture and one question behind it, the last positions of which are answered.
fn ids(name: &str, shape: &[usize], shapes: Shapes, visual: usize) -> Result<Vec<i32>, String> {
    let Shapes { batch: BatchShape { tokens, targets, .. }, vocab } = shapes;
    let elements: usize = shape.iter().product();
    let width = shape.last().copied().unwrap_or(1);
    let at = |of: &dyn Fn(usize) -> usize| (0..elements).map(|i| of(i) as i32).collect();
    let is_text = |i: usize| i % width >= visual;
    Ok(match name {
        inputs::TOKENS => at(&|i| (i * 7 + 3) % vocab),
        inputs::TARGETS => at(&|i| (i * 5 + 1) % vocab),
        inputs::POSITIONS | inputs::IMAGE_INDEX => at(&|i| i % width),
        inputs::SEGMENTS => at(&|i| usize::from(is_text(i))),
        inputs::TEXT_SEGMENTS => (0..elements).map(|i| if is_text(i) { 1 } else { -1 }).collect(),
        inputs::TARGET_INDEX => at(&|i| (tokens + i % width).saturating_sub(targets + 1)),
        _ => return Err(format!("`{name}` is an input that has no values here")),
    })
}

fn floats(name: &str, elements: usize, shape: BatchShape, visual: usize) -> Vec<f32> {
    let mask = |of: &dyn Fn(usize) -> bool| {
        (0..elements).map(|i| f32::from(u8::from(of(i % shape.tokens)))).collect()
    };
    match name {
        inputs::TEXT_MASK | inputs::QUESTION_MASK => mask(&|at| at >= visual),
        _ if inputs::of_injection(name, inputs::POOL_MASK) => mask(&|at| at < visual),
        _ => initial_value(Init::Uniform { std: 1.0 }, elements, SEED, name),
    }
}
