//! A recipe's model, compiled for training and for prediction over one set of weights.

use crossloom_compiler::{Mode, Options, compile};
use crossloom_model::{BatchShape, Outputs, ParamSpec, initial_value};
use crossloom_recipe::{PointAddress, Recipe, VisionAddress};

use crate::ExperimentError;
use crate::backends::{Executable, RunError, Store, backend};
use crate::graph::{forward_func, training_spec};

/// Weights and optimizer state, with the compiled graphs that work on them.
pub struct Model {
    /// Weights and state by name.
    pub store: Store,
    /// A training step, or its part for one micro-batch.
    pub step: Executable,
    /// With gradient accumulation: the end of a step.
    pub apply: Option<Executable>,
    /// Predictions for evaluation and generation.
    pub predict: Executable,
    /// Where pictures are held out: the loss alone.
    pub held_out: Option<Executable>,
    /// Every weight.
    pub params: Vec<ParamSpec>,
    /// Every gated point with its taps.
    pub gates: Vec<(PointAddress, Vec<VisionAddress>)>,
}

impl Model {
    /// Builds, compiles and initialises the model of a recipe for one batch shape.
    ///
    /// # Errors
    /// The graph cannot be built or compiled.
    pub fn new(recipe: &Recipe, shape: BatchShape, vocab: usize) -> Result<Self, ExperimentError> {
        let backend = backend();
        let options = Options { verify: cfg!(debug_assertions) };
        let (graph, func) = forward_func(recipe, shape, vocab, Outputs::Loss)?;
        let (_, predict) = forward_func(recipe, shape, vocab, Outputs::Predictions)?;
        let spec = training_spec(recipe, &graph.params);
        let set = compile(&func, &Mode::Train(&spec), backend, options)?;
        let predict = compile(&predict, &Mode::Forward, backend, options)?;
        let held_out = (recipe.data.validation > 0.0)
            .then(|| compile(&func, &Mode::Forward, backend, options))
            .transpose()?;
        let mut store = Store::new();
        let step = Executable::new(set.main.plan, &mut store)?;
        let apply = set.apply.map(|apply| Executable::new(apply.plan, &mut store)).transpose()?;
        let predict = Executable::new(predict.main.plan, &mut store)?;
        let held_out = held_out.map(|loss| Executable::new(loss.main.plan, &mut store)).transpose()?;
        for param in &graph.params {
            let elements = param.shape.iter().product();
            let values = initial_value(param.init, elements, recipe.train.seed, &param.name);
            store.set(&param.name, &values).map_err(RunError::from)?;
        }
        Ok(Self { store, step, apply, predict, held_out, params: graph.params, gates: graph.gates })
    }

    /// Its executables, each with the name that a run's record gives it.
    pub fn executables(&self) -> impl Iterator<Item = (&'static str, &Executable)> {
        let optional = [("apply", self.apply.as_ref()), ("held_out", self.held_out.as_ref())];
        [("train", &self.step), ("predict", &self.predict)]
            .into_iter()
            .chain(optional.into_iter().filter_map(|(name, exe)| Some((name, exe?))))
    }

    /// Number of weights (elements).
    pub fn parameters(&self) -> u64 {
        self.params.iter().map(|p| p.shape.iter().product::<usize>() as u64).sum()
    }
}
