//! A recipe's model, compiled for training and for prediction over one set of weights.

use std::sync::Arc;

use crossloom_compiler::Plan;
use crossloom_compiler::explain::explain;
use crossloom_compiler::passes::precision::COPY;
use crossloom_compiler::training::ACCUMULATOR;
use crossloom_ir::{DType, Func, Role};
use crossloom_model::{BatchShape, Outputs, ParamSpec, caches, initial_value};
use crossloom_recipe::{PointAddress, Recipe, Tap};
use crossloom_runtime::limits::release_freed;
use crossloom_runtime::{Arena, Device, Executable, Home, MappedFile, RunError, Session, Store, TensorInfo};
use crossloom_train::checkpoint::{Checkpoint, RestorePart};
use crossloom_train::step::{BoxError, Dtype, ModelState, StateTensor, Visit};
use crossloom_weights::values;
use half::bf16;

use crate::ExperimentError;
use crate::backends::Backend;
use crate::fitting::Comparison;
use crate::graph::{forward_func, policy};
use crate::phases::Phases;
use crate::programs::{Programs, compiled};
use crate::start::Start;
use crate::training::Training;

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
    pub gates: Vec<(PointAddress, Vec<Tap>)>,
    /// Whether all weights are zero until start values or a checkpoint's are put there, but for those that stay where they lie.
    blank: bool,
    start: Start,
}

impl Model {
    /// The model of a recipe for one batch shape, on the default backend, to be trained from its start values.
    ///
    /// # Errors
    /// The graph cannot be built or compiled; the device does not run or has no room.
    pub fn new(recipe: &Recipe, shape: BatchShape, vocab: usize) -> Result<Self, ExperimentError> {
        let device = Backend::default().running()?;
        let programs = Programs::to_train(recipe, shape, vocab, None, device.target())?;
        let start = Start::new(recipe, &programs.params)?;
        let mut model = Self::blank(programs, start, &device)?;
        model.start(recipe.train.seed)?;
        Ok(model)
    }

    /// A model of compiled programs whose frozen parts have the weights they start from and keep. Those of all others come later:
    /// [`crate::train()`] puts start values there, or those of a checkpoint.
    ///
    /// # Errors
    /// The device does not run, has no room, or the programs were compiled for another; weights that cannot be used.
    pub fn blank(
        programs: Programs,
        start: Start,
        device: &Arc<dyn Device>,
    ) -> Result<Self, ExperimentError> {
        let store = Store::new(device)?;
        start.lay(&store, &programs.weights())?;
        let Programs { params, gates, phases, training, .. } = programs;
        let arena = Arena::new(&store);
        let phases = Phases::new(phases, &arena)?;
        let mut model = Self { store, arena, phases, training: None, params, gates, blank: true, start };
        model.training = training.map(|training| Training::new(training, &model.arena)).transpose()?;
        for name in model.start.frozen().filter(|name| model.store.info(name).is_some()) {
            write_copy(&model.store, name)?;
        }
        Ok(model)
    }

    /// A trained model with the weights of a checkpoint, without start values.
    ///
    /// # Errors
    /// As [`Model::blank`]; a checkpoint that is damaged or of another model.
    pub fn restored(
        programs: Programs,
        start: Start,
        device: &Arc<dyn Device>,
        checkpoint: &Checkpoint<'_>,
    ) -> Result<Self, ExperimentError> {
        let mut model = Self::blank(programs, start, device)?;
        checkpoint.restore_model(&mut model, RestorePart::Parameters)?;
        model.blank = false;
        Ok(model)
    }

    /// Operations of a training step of so many micro-batches; none where it is not trained.
    pub(crate) fn step_flops(&self, accumulate: u64) -> Option<u64> {
        let Training { step, apply, .. } = self.training.as_ref()?;
        let flops = |session: &Session| explain(session.plan(), 1).flops;
        Some(match apply {
            Some(apply) => accumulate * flops(step) + flops(apply),
            None => flops(step),
        })
    }

    fn session(&self, plan: Plan) -> Result<Session, RunError> {
        Session::new(&Executable::new(self.store.device(), plan)?, &self.arena)
    }

    /// Puts start values where there are no values yet: those of pretrained weights, or else such that depend on the seed and the
    /// parameter's name only.
    pub(crate) fn start(&mut self, seed: u64) -> Result<(), ExperimentError> {
        if std::mem::replace(&mut self.blank, false) {
            let owned = |name: &str| self.store.info(name).is_some_and(|info| is_owned(&info));
            for param in self.params.iter().filter(|param| owned(&param.name)) {
                let elements = param.shape.iter().product();
                let values = match self.start.value(&param.name)? {
                    Some(values) => values,
                    None => initial_value(param.init, elements, seed, &param.name),
                };
                write_weight(&self.store, &param.name, &values)?;
            }
        }
        Ok(())
    }

    /// Puts weights of another training of the model in the place of start values, by their names, each in the type that it has here.
    /// Weights that only this training has, such as new low-rank pairs, keep theirs.
    ///
    /// # Errors
    /// A damaged checkpoint; weights that the model does not have, or has in another shape, all of them: none is left behind.
    pub(crate) fn take_over(&mut self, checkpoint: &Checkpoint<'_>) -> Result<(), ExperimentError> {
        let store = &self.store;
        let mut misfits = Vec::new();
        checkpoint.visit_parameters(&mut |tensor| {
            match store.info(tensor.name).filter(is_owned) {
                Some(info) if info.ty.shape == tensor.shape => {
                    let dtype = dtype_in_store(tensor.name, tensor.dtype)?;
                    let values = values::to_f32(dtype, tensor.bytes);
                    let values =
                        values.map_err(|problem| format!("the tensor `{}` {problem}", tensor.name))?;
                    write_weight(store, tensor.name, &values)?;
                }
                Some(info) => misfits.push(format!(
                    "misshaped   {} is {:?} there, {:?} in the model",
                    tensor.name, tensor.shape, info.ty.shape
                )),
                None => misfits.push(format!("unexpected  {} {:?}", tensor.name, tensor.shape)),
            }
            Ok(())
        })?;
        if misfits.is_empty() {
            return Ok(());
        }
        Err(ExperimentError::Weights {
            path: checkpoint.path().to_owned(),
            misfits,
            help: "a stage has all weights that the one before it trained".to_owned(),
        })
    }

    /// Puts the weights of a file that has all of them, under our names, where there are none yet.
    ///
    /// # Errors
    /// Tensors that are missing, unexpected, or of another shape, all of them; a file that has changed; a value that is not finite.
    pub(crate) fn fill(&mut self, file: &Arc<MappedFile>) -> Result<(), ExperimentError> {
        let there = file.header().iter().map(|(name, located)| (name.as_str(), &located.shape[..]));
        let wanted = self.params.iter().collect();
        let comparison = Comparison { path: file.path(), allowed: None, wanted, there: there.collect() };
        for name in comparison.fitting()? {
            let damaged = |problem: &str| ExperimentError::File {
                path: file.path().to_owned(),
                message: format!("the tensor `{name}` {problem}"),
            };
            let (ty, bytes) = file.tensor(name)?;
            if let Some(place) = values::first_non_finite(ty.dtype, bytes.as_ref()) {
                return Err(damaged(&format!("has no finite value at {place}")));
            }
            let values = values::to_f32(ty.dtype, bytes.as_ref()).map_err(|problem| damaged(&problem))?;
            write_weight(&self.store, name, &values)?;
        }
        self.blank = false;
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
        self.over(recipe, &func)
    }

    /// A function over these weights.
    pub(crate) fn over(&self, recipe: &Recipe, func: &Func) -> Result<Session, ExperimentError> {
        let plan = compiled(func, self.store.device().target(), &policy(recipe, &self.params)?)?;
        release_freed();
        Ok(self.session(plan)?)
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
        self.params.iter().map(ParamSpec::elements).sum()
    }
}

impl ModelState for Model {
    fn visit_state(&self, visit: &mut Visit<'_>) -> Result<(), BoxError> {
        visit_state(&self.store, visit)
    }

    fn load_state(&mut self, tensor: StateTensor<'_>) -> Result<(), BoxError> {
        load_state(&self.store, tensor)
    }
}

/// Whether a tensor is the store's own. Others are pretrained weights: read where they lie, and never written.
fn is_owned(tensor: &TensorInfo) -> bool {
    matches!(tensor.home, Home::Owned)
}

/// What a checkpoint keeps of a store: gradients that accumulate, caches of keys and values, the 16-bit copies of weights and
/// pretrained weights that stay where they lie are no state.
pub(crate) fn visit_state(store: &Store, visit: &mut Visit<'_>) -> Result<(), BoxError> {
    let derived =
        |name: &str| [ACCUMULATOR, caches::PREFIX, COPY].iter().any(|prefix| name.starts_with(prefix));
    for tensor in store.tensors().iter().filter(|tensor| is_owned(tensor)) {
        if tensor.role == Role::Weight || !derived(&tensor.name) {
            let dtype = dtype_in_file(&tensor.name, tensor.ty.dtype)?;
            let bytes = store.read_bytes(&tensor.name)?;
            visit(StateTensor { name: &tensor.name, dtype, shape: &tensor.ty.shape, bytes: &bytes })?;
        }
    }
    Ok(())
}

/// Puts a tensor of a checkpoint into a store, and with a weight its 16-bit copy.
pub(crate) fn load_state(store: &Store, tensor: StateTensor<'_>) -> Result<(), BoxError> {
    store.write_bytes(tensor.name, tensor.bytes)?;
    Ok(write_copy(store, tensor.name)?)
}

/// Writes a weight in the type that it has, and its 16-bit copy if there is one.
fn write_weight(store: &Store, name: &str, values: &[f32]) -> Result<(), RunError> {
    match store.info(name).map(|tensor| tensor.ty.dtype) {
        Some(DType::Bf16) => store.write(name, &rounded(values))?,
        _ => store.write(name, values)?,
    }
    write_copy(store, name)
}

fn write_copy(store: &Store, name: &str) -> Result<(), RunError> {
    let copy = format!("{COPY}{name}");
    match store.info(&copy) {
        Some(_) => store.write(&copy, &rounded(&store.read::<f32>(name)?)),
        None => Ok(()),
    }
}

/// Values rounded to 16 bits.
pub(crate) fn rounded(values: &[f32]) -> Vec<bf16> {
    values.iter().map(|&value| bf16::from_f32(value)).collect()
}

fn dtype_in_store(name: &str, dtype: Dtype) -> Result<DType, BoxError> {
    Ok(match dtype {
        Dtype::F32 => DType::F32,
        Dtype::BF16 => DType::Bf16,
        Dtype::F16 => DType::F16,
        other => return Err(format!("`{name}` is {other}, which no weight is").into()),
    })
}

pub(crate) fn dtype_in_file(name: &str, dtype: DType) -> Result<Dtype, BoxError> {
    Ok(match dtype {
        DType::F32 => Dtype::F32,
        DType::Bf16 => Dtype::BF16,
        DType::F16 => Dtype::F16,
        DType::I32 => Dtype::I32,
        DType::U8 => Dtype::U8,
        other => return Err(format!("`{name}` is {other}, which a checkpoint cannot hold").into()),
    })
}
