//! All that the checks work on: a small recipe, its wiring, weights, sequences and pictures.

use crossloom_ir::Tensor;
use crossloom_model::{ParamSpec, inputs};
use crossloom_recipe::Recipe;

use super::evaluate::{Evaluated, Named, norm};
use super::functions::{Function, Functions, Sizes, Use};
use super::scene::Sight;
use super::sequences::Sequences;
use super::small::small;
use super::weights;
use super::wiring::Wiring;
use crate::ExperimentError;

/// Differences below this share are those of rounding: the interpreter computes in double precision.
pub(crate) const ROUNDING: f64 = 1e-9;
/// What is below this share of what it is part of is nothing.
pub(crate) const NOTHING: f64 = 1e-13;

pub(crate) struct Bench<'b> {
    /// The recipe as it was given.
    pub(crate) given: &'b Recipe,
    /// The same in small.
    pub(crate) recipe: Recipe,
    pub(crate) wiring: Wiring,
    pub(crate) sequences: Sequences,
    pub(crate) sizes: Sizes,
    pub(crate) functions: &'b dyn Functions,
    pub(crate) encode: Function,
    pub(crate) over_states: Function,
    /// Every weight of the model.
    pub(crate) params: Vec<ParamSpec>,
    /// Values of all weights at which nothing is zero by chance.
    pub(crate) weights: Named,
    pub(crate) pixels: Named,
    /// All that a whole forward pass is given besides pictures.
    pub(crate) text: Named,
    /// The vision states of the pictures.
    pub(crate) states: Named,
    /// By tap, its states when it shows something else, and when it shows nothing.
    pub(crate) other: Vec<Named>,
    pub(crate) nothing: Vec<Named>,
}

impl<'b> Bench<'b> {
    pub(crate) fn new(given: &'b Recipe, functions: &'b dyn Functions) -> Result<Self, ExperimentError> {
        let (recipe, wiring) = (small(given), Wiring::of(given)?);
        let sequences = Sequences::of(&recipe);
        let sizes =
            Sizes { batch: sequences.all.len(), tokens: sequences.tokens, targets: sequences.targets() };
        let encode = functions.function(&recipe, Use::Encode, sizes)?;
        let over_states = functions.function(&recipe, Use::OverStates, sizes)?;
        let mut params = encode.params.clone();
        for param in &over_states.params {
            if !params.iter().any(|known| known.name == param.name) {
                params.push(param.clone());
            }
        }
        let weights = weights::generic(&params);
        let vision = &recipe.model.vision;
        let shape = [sizes.batch, vision.channels, vision.image_size, vision.image_size];
        let pixels = Named::from([(inputs::PIXELS.to_owned(), weights::noise(&shape, 1.0, 3, "pixels"))]);
        let states = Evaluated::new(&encode.func, &[&pixels, &weights])?.results();
        let text = sequences.inputs(1);
        let other = wiring.taps.iter().map(|tap| {
            let of = tap.states.iter().filter_map(|state| {
                let name = inputs::state(*state);
                let now = states.get(&name)?;
                let std = norm(now.data.iter().copied()) / (now.data.len() as f64).sqrt();
                Some((name.clone(), weights::noise(&now.shape, std, 4, &name)))
            });
            of.collect()
        });
        let other = other.collect();
        let nothing = wiring.taps.iter().map(|tap| blank(&states, tap)).collect();
        Ok(Self {
            given,
            recipe,
            wiring,
            sequences,
            sizes,
            functions,
            encode,
            over_states,
            params,
            weights,
            pixels,
            text,
            states,
            other,
            nothing,
        })
    }

    /// A function of the small recipe.
    pub(crate) fn function(&self, usage: Use) -> Result<Function, ExperimentError> {
        self.functions.function(&self.recipe, usage, self.sizes)
    }

    /// Layers of the decoder.
    pub(crate) fn layers(&self) -> usize {
        self.recipe.model.language.layers
    }

    /// What a function over states sees when the states are others.
    pub(crate) fn sight(&self, states: &Named) -> Sight {
        let nothing = self.wiring.taps.iter().map(|tap| {
            let mut all = states.clone();
            all.extend(blank(states, tap));
            all
        });
        Sight { nothing: nothing.collect(), now: states.clone() }
    }

    /// The rows of all visual tokens in a state `[B, T, D]`, picture by picture.
    pub(crate) fn visual_rows(&self) -> Vec<usize> {
        let Sequences { all, tokens, .. } = &self.sequences;
        let of = |(row, sequence): (usize, &super::sequences::Sequence)| {
            sequence.visual.iter().map(move |at| row * tokens + at).collect::<Vec<_>>()
        };
        all.iter().enumerate().flat_map(of).collect()
    }
}

/// The states of a tap, all zero.
fn blank(states: &Named, tap: &super::wiring::Tap) -> Named {
    let zeros = tap.states.iter().filter_map(|state| {
        let name = inputs::state(*state);
        Some((name.clone(), Tensor::splat(states.get(&name)?.shape.clone(), 0.0)))
    });
    zeros.collect()
}
