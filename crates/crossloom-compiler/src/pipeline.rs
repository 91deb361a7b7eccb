//! The whole compiler: passes, differentiation, legalization, memory plan.

use std::time::{Duration, Instant};

use crossloom_ir::expand::expand_insts;
use crossloom_ir::{Func, InstData, IrErrors, TensorType, Value, verify};

use crate::Target;
use crate::passes::precision::{self, Policy};
use crate::passes::{AFTER_AUTODIFF, BEFORE_AUTODIFF, Pass, after};
use crate::plan::{self, Plan};
use crate::training::{Training, TrainingFuncs, training};

/// What to compile a forward function into.
#[derive(Clone, Debug)]
pub enum Mode<'a> {
    /// The function as it is.
    Forward,
    /// A training step.
    Train(&'a Training),
}

/// One pass that ran.
#[derive(Clone, Debug)]
pub struct PassRecord {
    /// Its name.
    pub name: &'static str,
    /// Instructions before.
    pub before: usize,
    /// Instructions after.
    pub after: usize,
    /// How long it took.
    pub time: Duration,
}

/// A compiled function: its plan and how it came about.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// Kernels and memory.
    pub plan: Plan,
    /// The passes that ran, in order.
    pub passes: Vec<PassRecord>,
}

/// Compiled functions of a training step, or the one of a forward pass.
#[derive(Clone, Debug)]
pub struct CompiledSet {
    /// What a batch goes through: the forward function, the whole training step, or the micro-batch part of it.
    pub main: Compiled,
    /// With gradient accumulation: what ends a step.
    pub apply: Option<Compiled>,
}

/// Settings of the compiler that do not change what is computed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Run the verifier after every pass, after differentiation and after legalization.
    pub verify: bool,
}

/// Compiles a forward function for a target, with every float in the type that the function gives it.
///
/// # Errors
/// As [`compile_as`].
pub fn compile(
    forward: &Func,
    mode: &Mode<'_>,
    target: &dyn Target,
    options: Options,
) -> Result<CompiledSet, IrErrors> {
    compile_as(forward, mode, target, &Policy::default(), options)
}

/// Compiles a forward function for a target, with floats in the types that a policy gives them.
///
/// # Errors
/// The function does not verify or cannot be differentiated, the policy does not fit it, or the target lacks a kernel
/// for something that has no expansion. All errors that were found at the failing stage.
pub fn compile_as(
    forward: &Func,
    mode: &Mode<'_>,
    target: &dyn Target,
    policy: &Policy,
    options: Options,
) -> Result<CompiledSet, IrErrors> {
    verify::verify(forward)?;
    let mut records = Vec::new();
    let forward = run_recorded(forward.clone(), &BEFORE_AUTODIFF, options, &mut records)?;
    let finish = |func: &Func, records| finish(func, target, policy, options, records);
    match mode {
        Mode::Forward => Ok(CompiledSet { main: finish(&forward, records)?, apply: None }),
        Mode::Train(spec) => match training(&forward, spec)? {
            TrainingFuncs::Step(step) => {
                let step = checked("differentiation", step, options)?;
                Ok(CompiledSet { main: finish(&step, records)?, apply: None })
            }
            TrainingFuncs::Accumulated { micro, apply } => {
                let micro = checked("differentiation", micro, options)?;
                let apply = checked("differentiation", apply, options)?;
                let main = finish(&micro, records)?;
                let apply = precision::write_copies(&apply, &precision::copied(&main.plan.func))?;
                let apply = checked("pass `precision`", apply, options)?;
                Ok(CompiledSet { main, apply: Some(finish(&apply, Vec::new())?) })
            }
        },
    }
}

fn recorded(
    name: &'static str,
    func: &Func,
    records: &mut Vec<PassRecord>,
    run: impl FnOnce(&Func) -> Result<Func, IrErrors>,
) -> Result<Func, IrErrors> {
    let start = Instant::now();
    let new = run(func)?;
    let (before, after) = (func.insts().len(), new.insts().len());
    records.push(PassRecord { name, before, after, time: start.elapsed() });
    Ok(new)
}

fn run_recorded(
    func: Func,
    passes: &[&dyn Pass],
    options: Options,
    records: &mut Vec<PassRecord>,
) -> Result<Func, IrErrors> {
    let mut func = func;
    for pass in passes {
        func = recorded(pass.name(), &func, records, |func| {
            checked(&format!("pass `{}`", pass.name()), pass.run(func)?, options)
        })?;
    }
    Ok(func)
}

fn finish(
    func: &Func,
    target: &dyn Target,
    policy: &Policy,
    options: Options,
    mut records: Vec<PassRecord>,
) -> Result<Compiled, IrErrors> {
    let typed = if policy.is_f32() {
        None
    } else {
        let apply = |func: &Func| checked("pass `precision`", precision::apply(func, policy)?, options);
        Some(recorded("precision", func, &mut records, apply)?)
    };
    let func = legalize(typed.as_ref().unwrap_or(func), target, options)?;
    let func = run_recorded(func, &AFTER_AUTODIFF, options, &mut records)?;
    // The passes fuse without asking; what the target cannot do fused is taken apart again.
    let func = legalize(&func, target, options)?;
    let plan = plan::plan(func, target)?;
    // The executors' unsafe code rests on what this proves, so it runs always.
    plan::check(&plan)?;
    Ok(Compiled { plan, passes: records })
}

/// Expands instructions the target has no kernel for until it has kernels for all of them. Of two instructions of one op
/// only the one whose types the target refuses is expanded. What has neither kernel nor expansion stays; the planner
/// reports it with its scope.
fn legalize(func: &Func, target: &dyn Target, options: Options) -> Result<Func, IrErrors> {
    let lacks = |func: &Func, inst: &InstData| {
        let types = |values: &[Value]| values.iter().map(|&v| func.ty(v)).collect::<Vec<&TensorType>>();
        target.kernel(&inst.op, &types(&inst.inputs), &types(&inst.outputs)).is_none()
    };
    checked("legalization", expand_insts(func, lacks)?, options)
}

/// Verifies a function that a stage gave, if that is asked for.
fn checked(stage: &str, func: Func, options: Options) -> Result<Func, IrErrors> {
    if options.verify {
        verify::verify(&func).map_err(|errors| after(stage, errors))?;
    }
    Ok(func)
}
