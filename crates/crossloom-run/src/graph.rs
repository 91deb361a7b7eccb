//! From a recipe to the functions that are compiled.

use crossloom_compiler::training::{Group, Training};
use crossloom_compiler::{Policy, Precision as Compute};
use crossloom_ir::{DType, Func};
use crossloom_model::{BatchShape, ModelGraph, Outputs, ParamSpec, build};
use crossloom_recipe::{Part, Precision, Recipe, Selection, Topology};

use crate::ExperimentError;

/// The forward graph of a recipe, as a luminal graph and lifted to IR.
///
/// # Errors
/// The wiring does not fit, or the graph cannot be built.
pub fn forward_func(
    recipe: &Recipe,
    shape: BatchShape,
    vocab: usize,
    outputs: Outputs,
) -> Result<(ModelGraph, Func), ExperimentError> {
    let topology = Topology::new(recipe)?;
    let edges: Vec<_> = topology.injections().map(|edge| (edge.tap, edge.point)).collect();
    let model = build(recipe, &edges, shape, vocab, outputs)?;
    let func = model.graph.lift()?;
    Ok((model, func))
}

/// The index of the group of a recipe's selection that trains a parameter; `None` where it is frozen.
pub fn group_of(selection: &Selection, param: &ParamSpec) -> Option<usize> {
    match param.beside {
        Some(_) => selection.pairs_of(param.part),
        None => selection.group_of(param.part, &param.name),
    }
}

/// The types in which a recipe holds and computes values of a model.
pub fn policy(recipe: &Recipe, params: &[ParamSpec]) -> Policy {
    let selection = Selection::new(&recipe.train);
    let own = params.iter().filter(|param| param.beside.is_none());
    let frozen = own.filter_map(|param| {
        let dtype = selection.kept_in(param.part, &param.name)?;
        Some((param.name.clone(), dtype_of(dtype)))
    });
    let compute = match recipe.train.precision {
        Precision::F32 => Compute::F32,
        Precision::Bf16 => Compute::Bf16,
    };
    Policy { compute, frozen: frozen.collect() }
}

/// In which types a recipe computes and keeps frozen parts: `bf16`, or `f32, vision kept in bf16`.
pub fn precision(recipe: &Recipe) -> String {
    let mut text = recipe.train.precision.name().to_owned();
    for part in Part::ALL {
        let settings = recipe.train.parts.get(part);
        if let Some(dtype) = settings.dtype.filter(|_| settings.keeps()) {
            text.push_str(&format!(", {} kept in {}", part.name(), dtype.name()));
        }
    }
    text
}

fn dtype_of(precision: Precision) -> DType {
    match precision {
        Precision::F32 => DType::F32,
        Precision::Bf16 => DType::Bf16,
    }
}

/// The optimizer of a recipe over a model's parameters.
pub fn training_spec(recipe: &Recipe, params: &[ParamSpec]) -> Training {
    let selection = Selection::new(&recipe.train);
    let groups = selection
        .groups()
        .iter()
        .enumerate()
        .map(|(index, group)| Group {
            name: group.name.clone(),
            params: params
                .iter()
                .filter(|param| group_of(&selection, param) == Some(index))
                .map(|param| param.name.clone())
                .collect(),
            weight_decay: group.weight_decay,
        })
        .filter(|group: &Group| !group.params.is_empty())
        .collect();
    Training {
        groups,
        beta1: recipe.train.betas[0],
        beta2: recipe.train.betas[1],
        eps: recipe.train.eps,
        clip_norm: recipe.train.clip_norm,
        accumulate: recipe.train.accumulate,
    }
}
