//! The CUDA C of whole plans.

use std::collections::BTreeMap;
use std::fmt;

use crossloom_compiler::Plan;
use crossloom_ir::{TensorType, Value};

use crate::launch::{Launch, Lowered};
use crate::{CudaTarget, PRELUDE};

/// What some plans become: the launches of their steps, and every kernel once.
#[derive(Clone, Debug)]
pub struct Generated {
    /// The launches of every step, by plan.
    pub plans: Vec<Vec<Lowered>>,
}

impl Generated {
    /// The launches of plans that were made for [`CudaTarget::OWN`].
    ///
    /// # Errors
    /// A step has no kernel: the plan was made for another target.
    pub fn of<'p>(plans: impl IntoIterator<Item = &'p Plan>) -> Result<Self, String> {
        let plans = plans.into_iter().map(|plan| plan.steps.iter().map(|step| lowered(plan, step)).collect());
        Ok(Self { plans: plans.collect::<Result<_, String>>()? })
    }

    /// Every kernel once, by name, with how often it is launched.
    pub fn kernels(&self) -> BTreeMap<&str, (&Launch, usize)> {
        let mut kernels = BTreeMap::new();
        for launch in self.plans.iter().flatten().flat_map(Lowered::launches) {
            kernels.entry(launch.kernel.as_str()).or_insert((launch, 0)).1 += 1;
        }
        kernels
    }
}

fn lowered(plan: &Plan, step: &crossloom_compiler::plan::Step) -> Result<Lowered, String> {
    let inst = plan.func.inst(step.inst);
    let types = |values: &[Value]| values.iter().map(|&v| plan.func.ty(v)).collect::<Vec<&TensorType>>();
    let lowered = CudaTarget::OWN.lower(&inst.op, &types(&inst.inputs), &types(&inst.outputs));
    lowered.filter(|lowered| lowered.name == step.kernel).ok_or_else(|| {
        let (op, target) = (inst.op.mnemonic(), &plan.target);
        format!("`{op}` in `{}` has no CUDA kernel `{}`; the plan is for {target}", inst.scope, step.kernel)
    })
}

/// One file that a device's compiler takes as it is.
impl fmt::Display for Generated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kernels = self.kernels();
        let steps: usize = self.plans.iter().map(Vec::len).sum();
        let launches: usize = kernels.values().map(|(_, count)| count).sum();
        writeln!(f, "// {steps} steps, {launches} launches, {} kernels", kernels.len())?;
        write!(f, "\n{PRELUDE}")?;
        for (launch, count) in kernels.into_values() {
            let ([x, y, z], [threads, ..]) = (launch.geometry.grid, launch.geometry.block);
            let shared = launch.geometry.shared;
            let times = if count == 1 { "once".to_owned() } else { format!("{count} times") };
            writeln!(
                f,
                "\n// Launched {times}: {x} x {y} x {z} blocks of {threads} threads, {shared} bytes shared."
            )?;
            write!(f, "{}", launch.source)?;
        }
        Ok(())
    }
}
