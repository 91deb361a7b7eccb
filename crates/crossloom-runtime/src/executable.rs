//! A plan, ready for a device.

use std::fmt;
use std::sync::Arc;

use crossloom_compiler::Kernel;
use crossloom_compiler::plan::{self, Plan};
use crossloom_ir::verify::verify;
use crossloom_ir::{IrError, Op, TensorType, Value};

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

    /// What a device has for a step: the kernel that the step names, for its types, with as much scratch as the plan has room for, only
    /// those pairs in place and only those results left out that it can. `lower` gives what the device has for an op, and `told`
    /// what the planner was told of it.
    ///
    /// # Errors
    /// - [`RunError::NoKernel`]: the device has no such kernel.
    /// - [`RunError::Plan`]: the plan lets it do what it cannot.
    pub fn kernel_of<K>(
        &self,
        step: &plan::Step,
        device: &'static str,
        lower: impl FnOnce(&Op, &[&TensorType], &[&TensorType]) -> Option<K>,
        told: impl Fn(&K) -> Kernel,
    ) -> Result<K, RunError> {
        let inst = self.func.inst(step.inst);
        let types = |values: &[Value]| values.iter().map(|&v| self.func.ty(v)).collect::<Vec<&TensorType>>();
        let (inputs, outputs) = (types(&inst.inputs), types(&inst.outputs));
        let lowered = lower(&inst.op, &inputs, &outputs).map(|lowered| (told(&lowered), lowered));
        let lowered =
            lowered.filter(|(kernel, _)| kernel.name == step.kernel && kernel.scratch <= self.scratch);
        let shown = || inputs.iter().chain(&outputs).map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let (kernel, lowered) = lowered.ok_or_else(|| RunError::NoKernel {
            device,
            kernel: step.kernel.clone(),
            op: inst.op.mnemonic().to_owned(),
            operands: shown(),
            scope: inst.scope.to_string(),
            target: self.target.clone(),
        })?;
        let cannot = |what: String| {
            let message = format!("kernel `{}` cannot {what}", kernel.name);
            let error = IrError::new(message).with_op(inst.op.mnemonic()).with_scope(&inst.scope);
            RunError::Plan(error.into())
        };
        if let Some((i, o)) = step.in_place.iter().find(|pair| !kernel.in_place.contains(pair)) {
            return Err(cannot(format!("write result {o} over operand {i}")));
        }
        let left_out = |o: &usize| {
            let value = inst.outputs[*o];
            self.place(value).len < self.func.ty(value).bytes() && !kernel.optional.contains(o)
        };
        match (0..inst.outputs.len()).find(left_out) {
            Some(o) => Err(cannot(format!("leave out result {o}"))),
            None => Ok(lowered),
        }
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
