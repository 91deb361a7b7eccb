//! The whole compiler: passes, differentiation, legalization, memory plan.

use std::time::{Duration, Instant};

use crossloom_ir::expand::expand_insts;
use crossloom_ir::{Func, InstData, IrErrors, TensorType, Value, verify};

use crate::Target;
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

/// Compiles a forward function for a target.
///
/// # Errors
/// The function does not verify or cannot be differentiated, or the target lacks a kernel for something that has no
/// expansion. All errors that were found at the failing stage.
pub fn compile(
    forward: &Func,
    mode: &Mode<'_>,
    target: &dyn Target,
    options: Options,
) -> Result<CompiledSet, IrErrors> {
    verify::verify(forward)?;
    let mut records = Vec::new();
    let forward = run_recorded(forward.clone(), &BEFORE_AUTODIFF, options, &mut records)?;
    match mode {
        Mode::Forward => Ok(CompiledSet { main: finish(&forward, target, options, records)?, apply: None }),
        Mode::Train(spec) => match training(&forward, spec)? {
            TrainingFuncs::Step(step) => {
                let step = checked("differentiation", step, options)?;
                Ok(CompiledSet { main: finish(&step, target, options, records)?, apply: None })
            }
            TrainingFuncs::Accumulated { micro, apply } => {
                let micro = checked("differentiation", micro, options)?;
                let apply = checked("differentiation", apply, options)?;
                Ok(CompiledSet {
                    main: finish(&micro, target, options, records)?,
                    apply: Some(finish(&apply, target, options, Vec::new())?),
                })
            }
        },
    }
}

fn run_recorded(
    func: Func,
    passes: &[&dyn Pass],
    options: Options,
    records: &mut Vec<PassRecord>,
) -> Result<Func, IrErrors> {
    let mut func = func;
    for pass in passes {
        let (start, before) = (Instant::now(), func.insts().len());
        func = crate::passes::run_all(func, &[*pass], options.verify)?;
        records.push(PassRecord {
            name: pass.name(),
            before,
            after: func.insts().len(),
            time: start.elapsed(),
        });
    }
    Ok(func)
}

fn finish(
    func: &Func,
    target: &dyn Target,
    options: Options,
    mut records: Vec<PassRecord>,
) -> Result<Compiled, IrErrors> {
    let func = legalize(func, target, options)?;
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
