//! What a recipe names to be trained, against what the model has.

use std::collections::{BTreeMap, BTreeSet};

use crossloom_recipe::{Lora, Part, Recipe, Selection};

use crate::{ModelError, ParamSpec};

/// Names of a kind that are listed at most.
const TOLD: usize = 12;

/// The linear layers of parts that have LoRA, as the builder asked for them.
#[derive(Default)]
pub(crate) struct Layers(BTreeMap<(Part, String), Layer>);

struct Layer {
    /// `[out, in]`.
    sides: [usize; 2],
    /// Which of the recipe's targets it is.
    target: Option<usize>,
}

impl Layers {
    /// Notes a linear layer; a second time changes nothing.
    pub(crate) fn add(&mut self, part: Part, linear: &str, sides: [usize; 2], target: Option<usize>) {
        self.0.insert((part, linear.to_owned()), Layer { sides, target });
    }

    /// Takes over the layers of another part of the model.
    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    fn of(&self, part: Part) -> impl Iterator<Item = (&str, &Layer)> {
        self.0.iter().filter(move |((of, _), _)| *of == part).map(|((_, name), layer)| (name.as_str(), layer))
    }
}

/// Refuses what a whole model does not have: targets without a layer, ranks that a layer cannot have, sets without a tensor.
///
/// # Errors
/// All of them at once.
pub(crate) fn check(recipe: &Recipe, params: &[ParamSpec], layers: &Layers) -> Result<(), ModelError> {
    let mut problems = Vec::new();
    let selection = Selection::new(&recipe.train);
    for part in Part::ALL {
        let Some(lora) = &recipe.train.parts.get(part).lora else { continue };
        let at = format!("train.parts.{}.lora", part.name());
        for (index, target) in lora.targets.iter().enumerate() {
            if !layers.of(part).any(|(_, layer)| layer.target == Some(index)) {
                let last = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
                let known: BTreeSet<String> = layers.of(part).map(|(name, _)| last(name)).collect();
                let only = Lora { targets: vec![target.clone()], ..lora.clone() };
                problems.push(if layers.of(part).any(|(name, _)| only.target_of(name).is_some()) {
                    format!("`{at}.targets`: what `{target}` names is named by earlier targets already")
                } else {
                    let known = told(known.into_iter());
                    format!("`{at}.targets`: `{target}` is no linear layer of the part; it has {known}")
                });
            }
        }
        let thin = layers
            .of(part)
            .filter(|(_, layer)| layer.target.is_some() && lora.rank > layer.sides[0].min(layer.sides[1]));
        let thin: Vec<String> =
            thin.map(|(name, layer)| format!("{name} [{}, {}]", layer.sides[0], layer.sides[1])).collect();
        if !thin.is_empty() {
            problems.push(format!(
                "`{at}.rank` is {}, above the smaller side of {}",
                lora.rank,
                told(thin.into_iter())
            ));
        }
        for (name, layer) in layers.of(part) {
            let weight = format!("{name}.weight");
            if layer.target.is_some() && lora.trainable && selection.group_of(part, &weight).is_some() {
                problems.push(format!(
                    "`{weight}` is trained in full by `train.parts.{}.tensors`, and `{at}` gives it a low-rank pair",
                    part.name()
                ));
            }
        }
    }
    let own = params.iter().filter(|param| param.beside.is_none());
    let own: Vec<(Part, &str)> = own.map(|param| (param.part, param.name.as_str())).collect();
    for set in selection.empty_sets(&own) {
        let at = format!("train.parts.{}.tensors", set.part.name());
        problems.push(if set.hidden {
            format!("`{at}`: all tensors that match `{}` belong to sets before it", set.pattern)
        } else if set.names.is_empty() {
            format!("`{at}`: `{}` matches nothing: the model has no tensors of that part", set.pattern)
        } else {
            format!("`{at}`: `{}` matches no tensor; there are {}", set.pattern, told(set.names.into_iter()))
        });
    }
    if problems.is_empty() { Ok(()) } else { Err(ModelError::Adaptation(problems)) }
}

fn told(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = names.len().saturating_sub(TOLD);
    let mut text = names.take(TOLD).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(", and {more} more"));
    }
    text
}
