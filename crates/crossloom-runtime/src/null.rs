//! The device that runs nothing.

use std::sync::Arc;

use crossloom_compiler::{NullTarget, Target};

use crate::{Budget, Device, DeviceProgram, DeviceQueue, RunError, VerifiedPlan};

/// Plans and costs: it has every kernel and no memory.
#[derive(Clone, Debug)]
pub struct NullDevice {
    budget: Budget,
}

impl Default for NullDevice {
    fn default() -> Self {
        Self { budget: Budget::new(0) }
    }
}

impl NullDevice {
    fn runs_nothing() -> RunError {
        RunError::device("null", "plans and tells costs, but runs nothing; choose another backend")
    }
}

impl Device for NullDevice {
    fn name(&self) -> &'static str {
        "null"
    }

    fn target(&self) -> &dyn Target {
        &NullTarget
    }

    fn budget(&self) -> &Budget {
        &self.budget
    }

    fn free_memory(&self) -> Option<u64> {
        Some(0)
    }

    fn queue(&self) -> Result<Box<dyn DeviceQueue>, RunError> {
        Err(Self::runs_nothing())
    }

    fn prepare(&self, _: &VerifiedPlan) -> Result<Arc<dyn DeviceProgram>, RunError> {
        Err(Self::runs_nothing())
    }
}
