//! The functions of a variant, compiled before any memory is taken for them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crossloom_compiler::{Context, Mode, Plan, Policy, Target, compile};
use crossloom_ir::{Func, Role, TensorType};
use crossloom_model::{BatchShape, ParamSpec};
use crossloom_recipe::{PointAddress, Recipe, VisionAddress};

use crate::ExperimentError;
use crate::graph::{encodes_before, policy, training_func, training_spec};
use crate::phases::{Described, PhasePrograms};

/// The plans of a variant for one batch shape.
pub struct Programs {
    /// Every weight.
    pub params: Vec<ParamSpec>,
    /// Every gated point with its taps.
    pub gates: Vec<(PointAddress, Vec<VisionAddress>)>,
    /// What evaluation and generation run.
    pub phases: PhasePrograms,
    /// Whether pictures are encoded before training, for nothing that encoding reads is trained.
    pub encodes_before: bool,
    /// Those of a variant that is trained.
    pub training: Option<TrainingPrograms>,
    /// Building and compiling together.
    pub time: Duration,
}

/// The plans of a training step.
pub struct TrainingPrograms {
    /// A training step, or its part for one micro-batch.
    pub step: Plan,
    /// With gradient accumulation: the end of a step.
    pub apply: Option<Plan>,
    /// Where pictures are held out: the loss alone.
    pub held_out: Option<Plan>,
}

impl Programs {
    /// What a variant that is only asked needs; `chunk` is how many positions of a prompt are read at once, if not all.
    ///
    /// # Errors
    /// The graph cannot be built or compiled; prompts that may not be cut so.
    pub fn to_predict(
        recipe: &Recipe,
        shape: BatchShape,
        vocab: usize,
        chunk: Option<usize>,
        target: &dyn Target,
    ) -> Result<Self, ExperimentError> {
        let start = Instant::now();
        let (phases, Described { params, gates }) = PhasePrograms::new(recipe, shape, vocab, chunk, target)?;
        let encodes_before = encodes_before(recipe)?;
        Ok(Self { params, gates, phases, encodes_before, training: None, time: start.elapsed() })
    }

    /// What a variant needs that is trained, evaluated and asked.
    ///
    /// # Errors
    /// As [`Programs::to_predict`].
    pub fn to_train(
        recipe: &Recipe,
        shape: BatchShape,
        vocab: usize,
        chunk: Option<usize>,
        target: &dyn Target,
    ) -> Result<Self, ExperimentError> {
        let start = Instant::now();
        let mut programs = Self::to_predict(recipe, shape, vocab, chunk, target)?;
        let (graph, func) = training_func(recipe, shape, vocab)?;
        let spec = training_spec(recipe, &graph.params);
        let policy = policy(recipe, &graph.params);
        let cx = Context { policy: policy.clone(), ..Context::new(target, Mode::Train(&spec)) };
        let set = compile(&func, &cx)?;
        let held_out =
            (recipe.data.validation > 0.0).then(|| compiled(&func, target, &policy)).transpose()?;
        programs.phases.encoder = programs.phases.encoder.read_by(&set.main.plan);
        programs.training = Some(TrainingPrograms {
            step: set.main.plan,
            apply: set.apply.map(|apply| apply.plan),
            held_out,
        });
        programs.time = start.elapsed();
        Ok(programs)
    }

    /// The type in which every weight is kept, by name.
    pub(crate) fn weights(&self) -> BTreeMap<String, TensorType> {
        let weights = self.plans().flat_map(|plan| {
            let params = plan.func.params().iter().filter(|param| param.role == Role::Weight);
            params.map(|param| (param.name.clone(), plan.func.ty(param.value).clone()))
        });
        weights.collect()
    }

    /// All plans. A session is made of each, and all sessions share one arena.
    pub fn plans(&self) -> impl Iterator<Item = &Plan> {
        let training = self.training.iter().flat_map(|training| {
            std::iter::once(&training.step).chain(&training.apply).chain(&training.held_out)
        });
        self.phases.plans().chain(training)
    }
}

/// The plan of a forward function, with floats in the types that a policy gives them.
pub(crate) fn compiled(func: &Func, target: &dyn Target, policy: &Policy) -> Result<Plan, ExperimentError> {
    let cx = Context { policy: policy.clone(), ..Context::new(target, Mode::Forward) };
    Ok(compile(func, &cx)?.main.plan)
}
