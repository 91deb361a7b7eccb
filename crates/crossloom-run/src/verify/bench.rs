//! All that the checks work on: a small recipe, its wiring, weights, sequences and pictures.

use crossloom_ir::func::ValueDef;
use crossloom_ir::{Func, Role, Tensor, Value};
use crossloom_model::{ParamSpec, inputs};
use crossloom_recipe::{Injection, Recipe};

use super::evaluate::{Change, Evaluated, Named, norm};
use super::functions::{Function, Functions, Sizes, Use};
use super::scene::Sight;
use super::sequences::{Sequence, Sequences};
use super::small::small;
use super::weights;
use super::wiring::{Tap, Wiring};
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
}

impl<'b> Bench<'b> {
    /// The injection, in small, that an edge belongs to; none of the input.
    pub(crate) fn injection(&self, edge: usize) -> Option<&Injection> {
        let prefix = &self.wiring.injections[self.wiring.edges[edge].injection?];
        self.recipe.topology.injections().find(|of| of.prefix() == *prefix).map(|of| of.of)
    }

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
        let side = recipe.picture_side();
        let shape = [sizes.batch, vision.channels, side, side];
        let pixels = Named::from([(inputs::PIXELS.to_owned(), weights::noise(&shape, 1.0, 3, "pixels"))]);
        let states = Evaluated::new(&encode.func, &[&pixels, &weights])?.results();
        let mut text = sequences.inputs(1);
        // Whatever else a function is given, such as vectors of questions, is made up.
        let func = &over_states.func;
        for param in func.params().iter().filter(|param| param.role == Role::Input) {
            if !text.contains_key(&param.name) && !states.contains_key(&param.name) {
                let made_up = weights::noise(func.shape(param.value), 1.0, 6, &param.name);
                text.insert(param.name.clone(), made_up);
            }
        }
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

    /// What changes in a function over states when a tap shows something else.
    pub(crate) fn other(&self, func: &Func, tap: usize) -> Change {
        let size = |state: &Tensor<f64>| norm(state.data.iter().copied()) / (state.data.len() as f64).sqrt();
        let of = self.wiring.taps[tap].states.iter().filter_map(|state| self.states.get(&state.name()));
        let std = of.map(size).fold(0.0, f64::max);
        let name = &self.wiring.taps[tap].name;
        shown(func, &self.wiring.taps[tap], |value| weights::noise(func.shape(value), std, 4, name))
    }

    /// What changes in a function over states when a tap shows nothing.
    pub(crate) fn nothing(&self, func: &Func, tap: usize) -> Change {
        shown(func, &self.wiring.taps[tap], |value| Tensor::splat(func.shape(value).to_vec(), 0.0))
    }

    /// The same of all taps.
    pub(crate) fn instead(&self, func: &Func) -> [Vec<Change>; 2] {
        let taps = || 0..self.wiring.taps.len();
        [
            taps().map(|tap| self.other(func, tap)).collect(),
            taps().map(|tap| self.nothing(func, tap)).collect(),
        ]
    }

    /// What a function over states sees when every tap shows something that is made of what it shows now.
    pub(crate) fn sight(&self, call: &Evaluated<'_>, made: impl Fn(&Tensor<f64>) -> Tensor<f64>) -> Sight {
        let mut now = Change::default();
        for tap in &self.wiring.taps {
            now.operands.extend(shown(call.func, tap, |value| made(call.value(value))).operands);
        }
        let nothing = (0..self.wiring.taps.len()).map(|tap| {
            let mut change = now.clone();
            change.operands.extend(self.nothing(call.func, tap).operands);
            change
        });
        Sight { nothing: nothing.collect(), now }
    }

    /// Whether anything stands at a row of a state `[B, T, D]`, and not padding.
    pub(crate) fn is_real(&self, row: usize) -> bool {
        let tokens = self.sequences.tokens;
        self.sequences.all[row / tokens].is_real(row % tokens)
    }

    /// The rows of all visual tokens in a state `[B, T, D]`, picture by picture.
    pub(crate) fn visual_rows(&self) -> Vec<usize> {
        let Sequences { all, tokens, .. } = &self.sequences;
        let of = |(row, sequence): (usize, &Sequence)| {
            sequence.visual.iter().map(move |at| row * tokens + at).collect::<Vec<_>>()
        };
        all.iter().enumerate().flat_map(of).collect()
    }
}

/// Puts something in the place of what a tap shows, wherever a function over states reads it, but for what other taps are made of.
fn shown(func: &Func, tap: &Tap, by: impl Fn(Value) -> Tensor<f64>) -> Change {
    const SOURCES: &str = "vision.source.";
    let own = format!("{SOURCES}{}", tap.name);
    let is_own = |value: Value| match func.def(value) {
        ValueDef::Param(at) => {
            let names = tap.states.iter().map(|state| state.name());
            tap.is_state && names.into_iter().any(|name| name == func.params()[at].name)
        }
        ValueDef::Output(inst, _) => !tap.is_state && func.inst(inst).scope.as_str() == own,
    };
    let mut change = Change::default();
    for (at, inst) in func.insts().iter().enumerate() {
        if inst.scope.as_str().starts_with(SOURCES) {
            continue;
        }
        for (operand, &value) in inst.inputs.iter().enumerate().filter(|(_, value)| is_own(**value)) {
            change.operands.insert((at, operand), by(value));
        }
    }
    change
}
