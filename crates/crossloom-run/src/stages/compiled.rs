//! A variant, compiled.

use std::time::{Duration, Instant};

use crossloom_compiler::pipeline::PassRecord;
use crossloom_compiler::{CompiledSet, Context, Mode as CompileMode, Plan, Target, compile};
use crossloom_model::ParamSpec;

use super::{Mode, Subject};
use crate::ExperimentError;
use crate::graph::{policy, training_spec};

/// A variant, compiled for one mode.
#[derive(Debug, Clone)]
pub struct Program {
    /// The compiled functions.
    pub set: CompiledSet,
    /// Every weight of the model.
    pub params: Vec<ParamSpec>,
    /// Building and compiling together.
    pub time: Duration,
}

impl Program {
    /// The plans: of the forward pass, of the training step, or of its two parts with gradient accumulation.
    pub fn plans(&self) -> impl Iterator<Item = &Plan> {
        std::iter::once(&self.set.main.plan).chain(self.set.apply.iter().map(|apply| &apply.plan))
    }

    /// The passes that ran, in order.
    pub fn passes(&self) -> impl Iterator<Item = &PassRecord> {
        self.set.main.passes.iter().chain(self.set.apply.iter().flat_map(|apply| &apply.passes))
    }
}

/// Builds and compiles a variant.
///
/// # Errors
/// The graph cannot be built or compiled.
pub fn program(subject: &Subject<'_>) -> Result<Program, ExperimentError> {
    program_for(subject, subject.backend.target())
}

/// The same, compiled for a target of its own.
///
/// # Errors
/// As [`program`].
pub fn program_for(subject: &Subject<'_>, target: &dyn Target) -> Result<Program, ExperimentError> {
    let Subject { recipe, mode, verify, .. } = *subject;
    let start = Instant::now();
    let (model, func) = subject.graph()?;
    let training = training_spec(recipe, &model.params);
    let compiled_for = match mode {
        Mode::Train => CompileMode::Train(&training),
        _ => CompileMode::Forward,
    };
    let cx = Context {
        verify: verify || cfg!(debug_assertions),
        policy: policy(recipe, &model.params)?,
        ..Context::new(target, compiled_for)
    };
    let set = compile(&func, &cx).map_err(ExperimentError::from)?;
    Ok(Program { set, params: model.params, time: start.elapsed() })
}
