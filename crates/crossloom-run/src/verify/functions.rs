//! Where the functions that are verified come from.

use crossloom_compiler::training::{TrainingFuncs, training};
use crossloom_ir::Func;
use crossloom_model::{
    BatchShape, CacheShape, ModelGraph, Outputs, ParamSpec, Span, StepShape, ViewShape, build_over_states,
    connect, decode, encode, prefill,
};
use crossloom_recipe::Recipe;

use super::small::VOCAB;
use crate::ExperimentError;
use crate::graph::{edges, forward_func, training_func, training_spec};

/// What a function is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Pictures to vision states.
    Encode,
    /// Vision states to what the language model reads.
    Connect,
    /// The whole model, from pixels to the logits of every position.
    Whole,
    /// The same from vision states.
    OverStates,
    /// The same from the states of one view more than there are sequences, with the layout that says what each shows.
    OverViews,
    /// The whole model from vision states to the loss.
    Loss,
    /// The whole model as it is trained, up to the loss: from pixels, or from states where nothing that encoding reads is trained.
    Trained,
    /// A training step, not compiled: the loss, its gradients, the optimizer.
    Step,
    /// Prompts, or chunks of so many positions, into the cache.
    Prefill {
        /// Positions of a row.
        tokens: usize,
        /// What part of a prompt they are.
        span: Span,
    },
    /// So many tokens of every row, over the cache.
    Decode {
        /// Positions of a row.
        tokens: usize,
    },
}

/// A function of a model, and the parameters that the model has for it.
#[derive(Clone, Debug)]
pub struct Function {
    /// What is compiled.
    pub func: Func,
    /// Its weights.
    pub params: Vec<ParamSpec>,
}

/// Sizes of what is verified: sequences, positions of one, and targets of one in training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Sequences.
    pub batch: usize,
    /// Positions of each.
    pub tokens: usize,
    /// Next tokens of each that are trained.
    pub targets: usize,
}

/// Gives the functions of a recipe. [`Built`] gives those that runs compile; a test may give others.
pub trait Functions: Sync {
    /// The function of a recipe for a use.
    ///
    /// # Errors
    /// It cannot be built.
    fn function(&self, recipe: &Recipe, usage: Use, sizes: Sizes) -> Result<Function, ExperimentError>;
}

/// The functions that runs compile.
#[derive(Clone, Copy, Debug, Default)]
pub struct Built;

impl Functions for Built {
    fn function(&self, recipe: &Recipe, usage: Use, sizes: Sizes) -> Result<Function, ExperimentError> {
        let Sizes { batch, tokens, targets } = sizes;
        let every = BatchShape { batch, tokens, targets: tokens, views: None };
        let trained = BatchShape { batch, tokens, targets, views: None };
        let edges = edges(recipe)?;
        let step = |tokens| StepShape {
            rows: batch,
            tokens,
            cache: CacheShape { slots: batch, capacity: sizes.tokens },
            visual: None,
        };
        let model = match usage {
            Use::Encode => encode(recipe, batch)?,
            Use::Connect => connect(recipe, &edges, every, VOCAB)?,
            Use::Whole => return Ok(of(forward_func(recipe, every, VOCAB, Outputs::Predictions)?)),
            Use::OverStates => build_over_states(recipe, &edges, every, VOCAB, Outputs::Predictions)?,
            Use::OverViews => {
                let views = ViewShape { views: batch + 1, tokens: recipe.visual_positions() };
                let every = BatchShape { views: Some(views), ..every };
                build_over_states(recipe, &edges, every, VOCAB, Outputs::Predictions)?
            }
            Use::Loss => build_over_states(recipe, &edges, trained, VOCAB, Outputs::Loss)?,
            Use::Trained => return Ok(of(training_func(recipe, trained, VOCAB)?)),
            Use::Step => {
                return step_of(recipe, self.function(recipe, Use::Trained, sizes)?);
            }
            Use::Prefill { tokens, span } => prefill(recipe, &edges, step(tokens), tokens, VOCAB, span)?,
            Use::Decode { tokens } => decode(recipe, &edges, step(tokens), VOCAB)?,
        };
        let func = model.graph.lift()?;
        Ok(of((model, func)))
    }
}

/// The training step of a function that ends in the loss.
///
/// # Errors
/// It cannot be differentiated, or nothing of it is trained.
pub fn step_of(recipe: &Recipe, loss: Function) -> Result<Function, ExperimentError> {
    let func = match training(&loss.func, &training_spec(recipe, &loss.params))? {
        TrainingFuncs::Step(func) | TrainingFuncs::Accumulated { micro: func, .. } => func,
    };
    Ok(Function { func, ..loss })
}

fn of((model, func): (ModelGraph, Func)) -> Function {
    Function { func, params: model.params }
}
