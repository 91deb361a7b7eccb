//! A recipe's model, compiled for training and for answers over one set of weights.

use std::sync::Arc;

use crossloom_compiler::training::ACCUMULATOR;
use crossloom_compiler::{Context, Mode, Plan, compile};
use crossloom_ir::{Func, Role};
use crossloom_model::{BatchShape, Outputs, ParamSpec, caches, initial_value};
use crossloom_recipe::{PointAddress, Recipe, VisionAddress};
use crossloom_runtime::{Arena, Device, Executable, RunError, Session, Store};
use crossloom_train::checkpoint::{Checkpoint, RestorePart};
use crossloom_train::step::{BoxError, ModelState, Visit};

use crate::ExperimentError;
use crate::backends::device;
use crate::graph::{forward_func, training_spec};
use crate::phases::{Described, Phases};

/// Named weights, with the compiled graphs that work on them.
pub struct Model {
    /// Weights by name; of a model that is trained also its optimizer's state.
    pub store: Store,
    /// Memory of intermediate values, which all sessions share: one runs at a time, and its results are read before the next.
    arena: Arena,
    /// What evaluation and generation run.
    pub phases: Phases,
    /// The training step, where the model was built to be trained.
    pub training: Option<Training>,
    /// Every weight.
    pub params: Vec<ParamSpec>,
    /// Every gated point with its taps.
    pub gates: Vec<(PointAddress, Vec<VisionAddress>)>,
    /// Whether all weights are zero until start values or a checkpoint's are put there.
    blank: bool,
}

/// The compiled training step of a model.
pub struct Training {
    /// A training step, or its part for one micro-batch.
    pub step: Session,
    /// With gradient accumulation: the end of a step.
    pub apply: Option<Session>,
    /// Where pictures are held out: the loss alone.
    pub held_out: Option<Session>,
}

impl Model {
    /// The model of a recipe for one batch shape, to be trained from its start values.
    ///
    /// # Errors
    /// The graph cannot be built or compiled.
    pub fn new(recipe: &Recipe, shape: BatchShape, vocab: usize) -> Result<Self, ExperimentError> {
        let mut model = Self::to_train(recipe, shape, vocab)?;
        model.start(recipe.train.seed)?;
        Ok(model)
    }

    /// The same without start values: [`crate::train()`] puts them there, or those of a checkpoint.
    ///
    /// # Errors
    /// As [`Model::new`].
    pub fn to_train(recipe: &Recipe, shape: BatchShape, vocab: usize) -> Result<Self, ExperimentError> {
        let (graph, func) = forward_func(recipe, shape, vocab, Outputs::Loss)?;
        let spec = training_spec(recipe, &graph.params);
        let mut model = Self::to_predict(recipe, shape, vocab)?;
        let device = model.store.device().clone();
        let set = compile(&func, &Context::new(device.target(), Mode::Train(&spec)))?;
        let held_out = (recipe.data.validation > 0.0).then(|| compiled(&func, &device)).transpose()?;
        model.training = Some(Training {
            step: model.session(set.main.plan)?,
            apply: set.apply.map(|apply| model.session(apply.plan)).transpose()?,
            held_out: held_out.map(|loss| model.session(loss)).transpose()?,
        });
        Ok(model)
    }

    /// A trained model that predicts, with the weights of a checkpoint: no training step, no state of an optimizer, no
    /// start values.
    ///
    /// # Errors
    /// As [`Model::new`]; a checkpoint that is damaged or of another model.
    pub fn restored(
        recipe: &Recipe,
        shape: BatchShape,
        vocab: usize,
        checkpoint: &Checkpoint<'_>,
    ) -> Result<Self, ExperimentError> {
        let mut model = Self::to_predict(recipe, shape, vocab)?;
        checkpoint.restore_model(&mut model, RestorePart::Parameters)?;
        model.blank = false;
        Ok(model)
    }

    fn to_predict(recipe: &Recipe, shape: BatchShape, vocab: usize) -> Result<Self, ExperimentError> {
        let store = Store::new(&device())?;
        let arena = Arena::new(&store);
        let (phases, Described { params, gates }) = Phases::new(recipe, shape, vocab, &arena)?;
        Ok(Self { store, arena, phases, training: None, params, gates, blank: true })
    }

    fn session(&self, plan: Plan) -> Result<Session, RunError> {
        Session::new(&Executable::new(self.store.device(), plan)?, &self.arena)
    }

    /// Puts start values where there are no values yet; each depends on the seed and its parameter's name only.
    pub(crate) fn start(&mut self, seed: u64) -> Result<(), ExperimentError> {
        if std::mem::replace(&mut self.blank, false) {
            for param in &self.params {
                let elements = param.shape.iter().product();
                let values = initial_value(param.init, elements, seed, &param.name);
                self.store.write(&param.name, &values)?;
            }
        }
        Ok(())
    }

    /// The whole model over these weights as the one graph that training differentiates, with predictions as results: what
    /// the phases are checked against.
    ///
    /// # Errors
    /// As [`Model::new`].
    pub fn whole(
        &self,
        recipe: &Recipe,
        shape: BatchShape,
        vocab: usize,
    ) -> Result<Session, ExperimentError> {
        let (_, func) = forward_func(recipe, shape, vocab, Outputs::Predictions)?;
        Ok(self.session(compiled(&func, self.store.device())?)?)
    }

    /// Its sessions, each with the name that a run's record gives it.
    pub fn sessions(&self) -> impl Iterator<Item = (&'static str, &Session)> {
        let training = self.training.as_ref();
        [
            ("train", training.map(|training| &training.step)),
            ("apply", training.and_then(|training| training.apply.as_ref())),
            ("held_out", training.and_then(|training| training.held_out.as_ref())),
        ]
        .into_iter()
        .filter_map(|(name, session)| Some((name, session?)))
        .chain(self.phases.largest())
    }

    /// Number of weights (elements).
    pub fn parameters(&self) -> u64 {
        self.params.iter().map(|p| p.shape.iter().product::<usize>() as u64).sum()
    }
}

impl ModelState for Model {
    fn visit_state(&self, visit: &mut Visit<'_>) -> Result<(), BoxError> {
        visit_state(&self.store, visit)
    }

    fn load_state(&mut self, name: &str, values: &[f32]) -> Result<(), BoxError> {
        Ok(self.store.write(name, values)?)
    }
}

/// What a checkpoint keeps of a store: gradients that accumulate and caches of keys and values are no state.
pub(crate) fn visit_state(store: &Store, visit: &mut Visit<'_>) -> Result<(), BoxError> {
    for tensor in store.tensors() {
        let passing = [ACCUMULATOR, caches::PREFIX].iter().any(|prefix| tensor.name.starts_with(prefix));
        if tensor.role == Role::Weight || !passing {
            visit(&tensor.name, &tensor.ty.shape, &store.read(&tensor.name)?)?;
        }
    }
    Ok(())
}

/// The plan of a forward function.
pub(crate) fn compiled(func: &Func, device: &Arc<dyn Device>) -> Result<Plan, ExperimentError> {
    Ok(compile(func, &Context::new(device.target(), Mode::Forward))?.main.plan)
}
