//! The product beside the equations.

use std::collections::BTreeMap;
use std::fmt::Debug;

use crossloom_model::{Init, ParamSpec};
use crossloom_recipe::{Part, Recipe};

use crate::batch::Batch;
use crate::model::{Named, equations};
use crate::product::{connected, declared, product};
use crate::settings::{Gate, Settings};

/// Shapes of parameters by name.
type Shapes = BTreeMap<String, Vec<usize>>;

/// How far two computations of a number in f64 may be apart, relative to the largest one beside it.
const EXACT: f64 = 1e-9;
/// How far a number may be from zero where the equations give zero.
const ZERO: f64 = 1e-12;

/// What the product computes from a recipe is what the equations say of the settings; otherwise, the first difference.
pub(crate) fn compare(recipe: &Recipe, settings: &Settings, seed: u64) -> Result<(), String> {
    let batch = Batch::random(settings, seed);
    let (parameters, expected) = equations(settings, &batch, seed);
    let shapes: Shapes = parameters.iter().map(|(name, (shape, _))| (name.clone(), shape.clone())).collect();
    let given = declared(recipe, &batch);
    let only = |of: &Shapes, not: &Shapes| -> Vec<String> {
        of.iter().filter(|(name, shape)| not.get(*name) != Some(*shape)).map(|p| format!("{p:?}")).collect()
    };
    same("parameters", &only(&given, &shapes), &only(&shapes, &given))?;

    let (visual, features) = connected(recipe, &batch, &parameters);
    close("visual tokens", &visual, &expected.visual)?;
    close_named("features", &features, &expected.features)?;

    let given = product(recipe, &batch, &parameters);
    close_named("states", &given.states, &expected.states)?;
    let gated = settings.injection.gate != Gate::None;
    close_named("gates", &given.gates, &if gated { expected.gates } else { Named::new() })?;
    close("loss", &[given.loss], &[expected.loss])?;
    close_named("gradients", &given.gradients, &expected.gradients)?;
    given.params.iter().try_for_each(|param| declaration(param, settings))
}

/// A parameter of an injection is trained with the part that it belongs to, and starts as the recipe says.
fn declaration(param: &ParamSpec, settings: &Settings) -> Result<(), String> {
    let name = param.name.as_str();
    let part = match name.split('.').next() {
        Some("vision_tower") => Part::Vision,
        Some("multi_modal_projector") => Part::Projector,
        Some("language_model") => Part::Language,
        _ if name.starts_with("injection.adapter.") => Part::Adapter,
        _ => Part::Gate,
    };
    same(&format!("part of {name}"), &param.part, &part)?;
    let start = match settings.injection.gate {
        Gate::Static { init } if part == Part::Gate => Init::Constant(init),
        Gate::Agf(agf) if name.ends_with(".controller.bias") => Init::Constant(agf.bias_init),
        _ if name.ends_with(".lora_B.weight") => Init::Constant(0.0),
        _ => return Ok(()),
    };
    same(&format!("start of {name}"), &param.init, &start)
}

fn same<T: PartialEq + Debug>(what: &str, given: &T, expected: &T) -> Result<(), String> {
    if given == expected { Ok(()) } else { Err(format!("{what}: {given:?}, expected {expected:?}")) }
}

fn close(what: &str, given: &[f64], expected: &[f64]) -> Result<(), String> {
    same(&format!("{what}, their number"), &given.len(), &expected.len())?;
    let largest = expected.iter().fold(0.0f64, |a, b| a.max(b.abs()));
    for (index, (a, b)) in given.iter().zip(expected).enumerate() {
        let near = (a - b).abs() <= EXACT * largest + ZERO;
        if !near {
            return Err(format!("{what}, number {index}: {a}, expected {b}"));
        }
    }
    Ok(())
}

fn close_named(what: &str, given: &Named, expected: &Named) -> Result<(), String> {
    let names = |named: &Named| named.keys().cloned().collect::<Vec<_>>();
    same(&format!("names of {what}"), &names(given), &names(expected))?;
    let pairs: BTreeMap<_, _> = given.iter().map(|(name, given)| (name, (given, &expected[name]))).collect();
    pairs
        .into_iter()
        .try_for_each(|(name, (given, expected))| close(&format!("{what}: {name}"), given, expected))
}
