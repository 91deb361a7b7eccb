//! The whole compiler: passes, differentiation, legalization, memory plan.

use std::time::{Duration, Instant};

use crossloom_ir::{Func, IrErrors, verify};

use crate::passes::{AFTER_AUTODIFF, BEFORE_AUTODIFF, Pass, checked, precision, run_all};
use crate::plan::{self, Plan};
use crate::training::{TrainingFuncs, training};
use crate::{Context, Mode};

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

/// Compiles a forward function.
///
/// # Errors
/// The function does not verify or cannot be differentiated, the types it is to have do not fit it, or the target lacks a
/// kernel for something that has no expansion. All errors that were found at the failing stage.
pub fn compile(forward: &Func, cx: &Context<'_>) -> Result<CompiledSet, IrErrors> {
    verify::verify(forward)?;
    let mut records = Vec::new();
    let forward = run_recorded(forward.clone(), &BEFORE_AUTODIFF, cx, &mut records)?;
    let Mode::Train(spec) = cx.mode else {
        return Ok(CompiledSet { main: finish(forward, cx, records)?, apply: None });
    };
    match training(&forward, spec)? {
        TrainingFuncs::Step(step) => {
            let step = checked("differentiation", step, cx)?;
            Ok(CompiledSet { main: finish(step, cx, records)?, apply: None })
        }
        TrainingFuncs::Accumulated { micro, apply } => {
            let micro = checked("differentiation", micro, cx)?;
            let apply = checked("differentiation", apply, cx)?;
            let main = finish(micro, cx, records)?;
            let apply = precision::write_copies(&apply, &precision::copied(&main.plan.func))?;
            let apply = checked("precision", apply, cx)?;
            Ok(CompiledSet { main, apply: Some(finish(apply, cx, Vec::new())?) })
        }
    }
}

fn run_recorded(
    func: Func,
    passes: &[&dyn Pass],
    cx: &Context<'_>,
    records: &mut Vec<PassRecord>,
) -> Result<Func, IrErrors> {
    let mut func = func;
    for pass in passes {
        let start = Instant::now();
        let before = func.insts().len();
        func = run_all(func, &[*pass], cx)?;
        let after = func.insts().len();
        records.push(PassRecord { name: pass.name(), before, after, time: start.elapsed() });
    }
    Ok(func)
}

fn finish(func: Func, cx: &Context<'_>, mut records: Vec<PassRecord>) -> Result<Compiled, IrErrors> {
    let func = run_recorded(func, &AFTER_AUTODIFF, cx, &mut records)?;
    let plan = plan::plan(func, cx.target)?;
    // The executors' unsafe code rests on what this proves, so it runs always.
    plan::check(&plan)?;
    Ok(Compiled { plan, passes: records })
}
