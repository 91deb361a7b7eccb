//! The weights that are verified with: those that training starts from, and such that nothing is zero by chance.

use crossloom_ir::{Func, Role, Tensor};
use crossloom_model::{Init, ParamSpec, initial_value};
use crossloom_recipe::{Part, Recipe};

use super::evaluate::Named;

/// Noise with a standard deviation, from a seed and a name.
pub(crate) fn noise(shape: &[usize], std: f64, seed: u64, name: &str) -> Tensor<f64> {
    let values = initial_value(Init::Uniform { std }, shape.iter().product(), seed, name);
    Tensor { shape: shape.to_vec(), data: values.into_iter().map(f64::from).collect() }
}

/// The values that a training of the recipe starts from. Of parts that start from pretrained weights these are not known: they are
/// generic.
pub(crate) fn start(recipe: &Recipe, params: &[ParamSpec]) -> Named {
    let model = &recipe.model;
    let pretrained = |part: Part| match part {
        Part::Vision => model.weights.is_some() || model.vision.weights.is_some(),
        Part::Language => model.weights.is_some() || model.language.weights.is_some(),
        Part::Projector | Part::Adapter | Part::Fusion => model.weights.is_some(),
        Part::Gate => false,
    };
    let value = |param: &ParamSpec| {
        let has_file = pretrained(param.part) && param.beside.is_none() && !is_branch(&param.name);
        let value = if has_file { generic_value(param) } else { initial(param) };
        (param.name.clone(), value)
    };
    params.iter().map(value).collect()
}

/// Low-rank branches are no part of published models.
fn is_branch(name: &str) -> bool {
    name.contains(".lora_A.") || name.contains(".lora_B.")
}

/// Values near the start values at which nothing is zero.
pub(crate) fn generic(params: &[ParamSpec]) -> Named {
    params.iter().map(|param| (param.name.clone(), generic_value(param))).collect()
}

fn initial(param: &ParamSpec) -> Tensor<f64> {
    let values = initial_value(param.init, param.shape.iter().product(), 1, &param.name);
    Tensor { shape: param.shape.clone(), data: values.into_iter().map(f64::from).collect() }
}

fn generic_value(param: &ParamSpec) -> Tensor<f64> {
    moved(&initial(param), 2, &param.name)
}

/// A tensor with noise on every element, as large as a part of what is there.
pub(crate) fn moved(tensor: &Tensor<f64>, seed: u64, name: &str) -> Tensor<f64> {
    let noise = noise(&tensor.shape, 0.2, seed, name);
    Tensor {
        shape: tensor.shape.clone(),
        data: tensor.data.iter().zip(noise.data).map(|(x, n)| x + n).collect(),
    }
}

/// Zeros for the state of an optimizer and for caches, and one rate for all groups.
pub(crate) fn state(func: &Func) -> Named {
    let zeros = |param: &crossloom_ir::Param| Tensor::splat(func.shape(param.value), 0.0);
    let states = func.params().iter().filter(|param| param.role == Role::State);
    states.map(|param| (param.name.clone(), zeros(param))).collect()
}
