//! A plan, ready for a device.

use std::fmt;
use std::sync::Arc;

use crossloom_compiler::plan::{self, Plan};
use crossloom_ir::verify::verify;

use crate::{Device, DeviceProgram, RunError};

/// A plan that passed the verifiers of its function and of its memory, which is what the unsafe code of devices rests
/// on. There is no other way to make one.
#[derive(Clone, Debug)]
pub struct VerifiedPlan(Arc<Plan>);

impl VerifiedPlan {
    /// Checks a plan.
    ///
    /// # Errors
    /// Everything that is wrong with its function, or with the plan.
    pub fn new(plan: Plan) -> Result<Self, RunError> {
        verify(&plan.func)?;
        plan::check(&plan)?;
        Ok(Self(Arc::new(plan)))
    }
}

impl std::ops::Deref for VerifiedPlan {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        &self.0
    }
}

/// A plan made ready for a device: immutable, without memory. Clones share everything.
#[derive(Clone)]
pub struct Executable {
    device: Arc<dyn Device>,
    plan: VerifiedPlan,
    program: Arc<dyn DeviceProgram>,
}

impl Executable {
    /// Makes a plan ready.
    ///
    /// # Errors
    /// - [`RunError::Plan`]: the function is not well-formed (two parameters of one name, say), the plan does not pass
    ///   [`plan::check`] or wants more memory than there can be.
    /// - [`RunError::NoKernel`]: the plan was made for another target, or lets a kernel do what it cannot.
    pub fn new(device: &Arc<dyn Device>, plan: Plan) -> Result<Self, RunError> {
        let plan = VerifiedPlan::new(plan)?;
        if plan.arena_bytes().is_none() {
            let message = format!("needs an arena of {} and {} bytes of scratch", plan.arena, plan.scratch);
            return Err(RunError::Plan(crossloom_ir::IrError::new(message).into()));
        }
        let program = device.prepare(&plan)?;
        Ok(Self { device: Arc::clone(device), plan, program })
    }

    /// The plan.
    pub fn plan(&self) -> &VerifiedPlan {
        &self.plan
    }

    /// The device it was made for.
    pub fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }

    pub(crate) fn program(&self) -> &Arc<dyn DeviceProgram> {
        &self.program
    }
}

impl fmt::Debug for Executable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Executable(@{}, {} steps)", self.plan.func.name, self.plan.steps.len())
    }
}
