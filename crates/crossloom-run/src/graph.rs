//! From a recipe to the functions that are compiled.

use std::collections::BTreeMap;

use crossloom_compiler::training::{Group, Training};
use crossloom_compiler::{Policy, Precision as Compute};
use crossloom_ir::{DType, Func};
use crossloom_model::{
    BatchShape, ModelGraph, Outputs, ParamSpec, VisionState, build, build_over_states, caches, encode, tapped,
};
use crossloom_recipe::{KeptIn, Part, PointAddress, Precision, Recipe, Selection, Tap, Topology};

use crate::ExperimentError;
use crate::sources::Files;

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
    let model = build(recipe, &edges(recipe)?, shape, vocab, outputs)?;
    let func = model.graph.lift()?;
    Ok((model, func))
}

/// The forward function that a training step is made of: its result is the loss. Where pictures are encoded before, it reads
/// vision states in the place of pixels.
///
/// # Errors
/// As [`forward_func`].
pub fn training_func(
    recipe: &Recipe,
    shape: BatchShape,
    vocab: usize,
) -> Result<(ModelGraph, Func), ExperimentError> {
    if !encodes_before(recipe)? {
        return forward_func(recipe, shape, vocab, Outputs::Loss);
    }
    let model = build_over_states(recipe, &edges(recipe)?, shape, vocab, Outputs::Loss)?;
    let func = model.graph.lift()?;
    Ok((model, func))
}

/// Whether pictures are encoded before a training step and not in it: nothing that encoding reads is trained.
///
/// # Errors
/// The encoder cannot be built.
pub fn encodes_before(recipe: &Recipe) -> Result<bool, ExperimentError> {
    Ok(training_spec(recipe, &encode(recipe, 1)?.params).groups.is_empty())
}

/// The edges of the injection, in order.
pub(crate) fn edges(recipe: &Recipe) -> Result<Vec<(Tap, PointAddress)>, ExperimentError> {
    Ok(Topology::new(recipe)?.pairs())
}

/// The index of the group of a recipe's selection that trains a parameter; `None` where it is frozen.
pub fn group_of(selection: &Selection, param: &ParamSpec) -> Option<usize> {
    match param.beside {
        Some(_) => selection.pairs_of(param.part),
        None => selection.group_of(param.part, &param.name),
    }
}

/// The types in which a recipe holds and computes values of a model. Of weights that are kept as their files have them, the files'
/// headers are read.
///
/// # Errors
/// Such a file cannot be read, or holds a type that is none of weights.
pub fn policy(recipe: &Recipe, params: &[ParamSpec]) -> Result<Policy, ExperimentError> {
    let selection = Selection::new(&recipe.train);
    let mut frozen = BTreeMap::new();
    let mut files = None;
    for param in params.iter().filter(|param| param.beside.is_none()) {
        let dtype = match selection.kept_in(param.part, &param.name) {
            None => continue,
            Some(KeptIn::F32) => DType::F32,
            Some(KeptIn::Bf16) => DType::Bf16,
            Some(KeptIn::File) => {
                if files.is_none() {
                    files = Some(Files::open(recipe)?);
                }
                match files.as_ref().and_then(|files: &Files<'_>| files.dtype(param.part, &param.name)) {
                    Some(dtype) => dtype,
                    None => continue,
                }
            }
        };
        frozen.insert(param.name.clone(), dtype);
    }
    let compute = match recipe.train.precision {
        Precision::F32 => Compute::F32,
        Precision::Bf16 => Compute::Bf16,
    };
    let given = tapped(recipe).into_iter().map(VisionState::name).collect();
    let states = match recipe.eval.cache {
        Precision::F32 => BTreeMap::new(),
        Precision::Bf16 => BTreeMap::from([(caches::PREFIX.to_owned(), DType::Bf16)]),
    };
    Ok(Policy { compute, frozen, given, states })
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
