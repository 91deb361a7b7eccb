//! The functions of a variant, compiled before any memory is taken for them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crossloom_compiler::explain::explain;
use crossloom_compiler::pipeline::PassRecord;
use crossloom_compiler::training::Training;
use crossloom_compiler::{Context, Mode, Plan, Policy, Target, compile};
use crossloom_ir::{Func, Role, TensorType};
use crossloom_model::{BatchShape, ParamSpec};
use crossloom_recipe::{PointAddress, Recipe, Tap};
use crossloom_runtime::limits::release_freed;

use crate::ExperimentError;
use crate::graph::{encodes_before, policy, training_func, training_spec};
use crate::phases::{Decoding, Described, PhasePrograms, PhaseSizes};

/// The plans of a variant for one batch shape.
pub struct Programs {
    /// Every weight.
    pub params: Vec<ParamSpec>,
    /// Every gated point with its taps.
    pub gates: Vec<(PointAddress, Vec<Tap>)>,
    /// What evaluation and generation run.
    pub phases: PhasePrograms,
    /// Whether pictures are encoded before training, for nothing that encoding reads is trained.
    pub encodes_before: bool,
    /// Those of a variant that is trained.
    pub training: Option<TrainingPrograms>,
    /// Building and compiling together.
    pub time: Duration,
}

/// The plans of a training step for the largest batch.
pub struct TrainingPrograms {
    /// A training step, or its part for one micro-batch.
    pub step: Plan,
    /// With gradient accumulation: the end of a step.
    pub apply: Option<Plan>,
    /// Where pictures are held out: the loss alone.
    pub held_out: Option<Plan>,
    /// The passes that both went through, in order.
    pub passes: Vec<PassRecord>,
    pub(crate) source: StepSource,
}

/// What a training step is compiled from, for batches of any shape.
pub(crate) struct StepSource {
    recipe: Recipe,
    vocab: usize,
    /// The largest.
    shape: BatchShape,
    /// Its loss.
    func: Func,
    spec: Training,
    policy: Policy,
}

impl StepSource {
    /// The largest shape.
    pub(crate) fn shape(&self) -> BatchShape {
        self.shape
    }

    /// The step, and its end where gradients accumulate; of at most so many bytes of arena, as far as it can be.
    fn compile(
        &self,
        func: &Func,
        target: &dyn Target,
        memory: Option<usize>,
    ) -> Result<(Plan, Option<Plan>, Vec<PassRecord>), ExperimentError> {
        let mode = Mode::Train(&self.spec);
        let cx = Context { policy: self.policy.clone(), memory, ..Context::new(target, mode) };
        let set = compile(func, &cx)?;
        let mut passes = set.main.passes;
        let apply = set.apply.map(|apply| {
            passes.extend(apply.passes);
            apply.plan
        });
        Ok((set.main.plan, apply, passes))
    }

    /// The step for batches of another shape, of at most so many bytes of arena, as far as it can be. It ends where the largest one's
    /// does.
    ///
    /// # Errors
    /// The graph cannot be built or compiled.
    pub(crate) fn step_of(
        &self,
        shape: BatchShape,
        target: &dyn Target,
        memory: Option<usize>,
    ) -> Result<Plan, ExperimentError> {
        let (_, func) = training_func(&self.recipe, shape, self.vocab)?;
        let (step, ..) = self.compile(&func, target, memory)?;
        release_freed();
        Ok(step)
    }

    /// The loss of batches of another shape.
    ///
    /// # Errors
    /// As [`StepSource::step_of`].
    pub(crate) fn loss_of(&self, shape: BatchShape, target: &dyn Target) -> Result<Plan, ExperimentError> {
        let (_, func) = training_func(&self.recipe, shape, self.vocab)?;
        let loss = compiled(&func, target, &self.policy)?;
        release_freed();
        Ok(loss)
    }
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
        let decoding = Decoding::packed(shape);
        Self::phases(recipe, PhaseSizes { shape, short: None, decoding, vocab, chunk, scores: false }, target)
    }

    /// What is needed to read batches of that shape, one prompt a row, or `short` prompts in its place, to answer so many prompts at once, and
    /// to score continuations.
    ///
    /// # Errors
    /// As [`Programs::to_predict`].
    pub fn to_serve(
        recipe: &Recipe,
        shape: BatchShape,
        short: Option<BatchShape>,
        slots: usize,
        vocab: usize,
        chunk: Option<usize>,
        target: &dyn Target,
    ) -> Result<Self, ExperimentError> {
        let decoding = Decoding { slots, tokens: 1 };
        Self::phases(recipe, PhaseSizes { shape, short, decoding, vocab, chunk, scores: true }, target)
    }

    fn phases(recipe: &Recipe, sizes: PhaseSizes, target: &dyn Target) -> Result<Self, ExperimentError> {
        let start = Instant::now();
        let (phases, Described { params, gates }) = PhasePrograms::new(recipe, sizes, target)?;
        let encodes_before = encodes_before(recipe)?;
        release_freed();
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
        Self::to_predict(recipe, shape, vocab, chunk, target)?.and_to_train(recipe, shape, vocab, target)
    }

    /// These, and what a training needs of which that is the shape of the largest batch.
    ///
    /// # Errors
    /// The graph cannot be built or compiled.
    pub fn and_to_train(
        self,
        recipe: &Recipe,
        shape: BatchShape,
        vocab: usize,
        target: &dyn Target,
    ) -> Result<Self, ExperimentError> {
        let (start, mut programs) = (Instant::now(), self);
        let (graph, func) = training_func(recipe, shape, vocab)?;
        // Rows of tiles have weights that one whole picture has not.
        let known = |name: &str, of: &[ParamSpec]| of.iter().any(|param| param.name == name);
        let more = graph.params.iter().filter(|param| !known(&param.name, &programs.params));
        let more: Vec<ParamSpec> = more.cloned().collect();
        programs.params.extend(more);
        let spec = training_spec(recipe, &graph.params);
        let policy = policy(recipe, &graph.params)?;
        let held_out =
            (recipe.data.validation > 0.0).then(|| compiled(&func, target, &policy)).transpose()?;
        let source = StepSource { recipe: recipe.clone(), vocab, shape, func, spec, policy };
        let (step, apply, passes) = source.compile(&source.func, target, None)?;
        programs.phases.encoder = programs.phases.encoder.read_by(&step);
        programs.training = Some(TrainingPrograms { step, apply, held_out, passes, source });
        release_freed();
        programs.time += start.elapsed();
        Ok(programs)
    }

    /// Brings the training step to at most so many bytes of arena, as near as it can be: it computes values of its forward pass
    /// again. Says whether the step is smaller now.
    pub(crate) fn squeeze(&mut self, target: &dyn Target, arena: usize) -> Result<bool, ExperimentError> {
        let Some(training) = &mut self.training else { return Ok(false) };
        let start = Instant::now();
        let (step, apply, passes) = training.source.compile(&training.source.func, target, Some(arena))?;
        let smaller = step.arena_bytes() < training.step.arena_bytes();
        if smaller {
            (training.step, training.apply, training.passes) = (step, apply, passes);
        }
        release_freed();
        self.time += start.elapsed();
        Ok(smaller)
    }

    /// What of a training step computes values again.
    pub(crate) fn recomputed(&self) -> Option<String> {
        let step = explain(&self.training.as_ref()?.step, 1);
        let share = 100.0 * step.recomputed.flops as f64 / step.flops.max(1) as f64;
        (step.recomputed.calls > 0).then(|| {
            let (values, arena) = (step.recomputed.calls, step.arena_bytes + step.scratch_bytes);
            format!(
                "computes {values} values of the forward pass again, {share:.1} % of a step's operations, so that its \
                 activations and gradients take {arena} bytes"
            )
        })
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
