//! A recipe's model, compiled for training and for prediction over one set of weights.

use crossloom_compiler::{Mode, Options, compile};
use crossloom_model::{BatchShape, Outputs, ParamSpec, initial_value};
use crossloom_recipe::{PointAddress, Recipe, VisionAddress};
use crossloom_runtime::{Arena, Executable, RunError, Session, Store};

use crate::ExperimentError;
use crate::backends::device;
use crate::graph::{forward_func, training_spec};

/// Weights and optimizer state, with the compiled graphs that work on them.
pub struct Model {
    /// Weights and state by name.
    pub store: Store,
    /// A training step, or its part for one micro-batch.
    pub step: Session,
    /// With gradient accumulation: the end of a step.
    pub apply: Option<Session>,
    /// Predictions for evaluation and generation.
    pub predict: Session,
    /// Where pictures are held out: the loss alone.
    pub held_out: Option<Session>,
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
        let device = device();
        let target = device.target();
        let options = Options { verify: cfg!(debug_assertions) };
        let (graph, func) = forward_func(recipe, shape, vocab, Outputs::Loss)?;
        let (_, predict) = forward_func(recipe, shape, vocab, Outputs::Predictions)?;
        let spec = training_spec(recipe, &graph.params);
        let set = compile(&func, &Mode::Train(&spec), target, options)?;
        let predict = compile(&predict, &Mode::Forward, target, options)?;
        let held_out = (recipe.data.validation > 0.0)
            .then(|| compile(&func, &Mode::Forward, target, options))
            .transpose()?;
        let store = Store::new(&device)?;
        // One runs at a time, so they share an arena. A result is read before the next one runs.
        let arena = Arena::new(&store);
        let session =
            |plan| -> Result<Session, RunError> { Session::new(&Executable::new(&device, plan)?, &arena) };
        let step = session(set.main.plan)?;
        let apply = set.apply.map(|apply| session(apply.plan)).transpose()?;
        let predict = session(predict.main.plan)?;
        let held_out = held_out.map(|loss| session(loss.main.plan)).transpose()?;
        for param in &graph.params {
            let elements = param.shape.iter().product();
            let values = initial_value(param.init, elements, recipe.train.seed, &param.name);
            store.write(&param.name, &values)?;
        }
        Ok(Self { store, step, apply, predict, held_out, params: graph.params, gates: graph.gates })
    }

    /// Its sessions, each with the name that a run's record gives it.
    pub fn sessions(&self) -> impl Iterator<Item = (&'static str, &Session)> {
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
