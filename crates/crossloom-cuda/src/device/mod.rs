//! CUDA as a device: plans bound to device memory and run on streams, through a small [`Driver`].
//!
//! A queue is a stream: what is started on it is done in order and later than the call returns. Numbers that an op does not
//! take are found by kernels, which write them into words that an event brings home; waiting for it gives the error. Kernels that
//! were started behind such a one see its word and do nothing, so what earlier steps updated stays as it is.

mod driver;
mod fake;
mod memory;
mod program;
mod queue;

use std::fmt;
use std::sync::Arc;

use crossloom_compiler::Target;
use crossloom_runtime::{Budget, Device, DeviceProgram, DeviceQueue, RunError, VerifiedPlan};

pub use driver::{Driver, Mark, Module, Stream};
pub use fake::FakeDriver;

use crate::CudaTarget;
use program::CudaProgram;
use queue::CudaQueue;

const NAME: &str = "cuda";

/// An error of the device.
fn failed(message: impl Into<String>) -> RunError {
    RunError::device(NAME, message)
}

/// A GPU, or what stands for one.
#[derive(Clone)]
pub struct CudaDevice {
    driver: Arc<dyn Driver>,
    budget: Budget,
}

impl CudaDevice {
    /// The device of a driver, to be used up to a budget.
    pub fn new(driver: Arc<dyn Driver>, budget: Budget) -> Self {
        Self { driver, budget }
    }
}

impl fmt::Debug for CudaDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CudaDevice({:?})", self.driver)
    }
}

impl Device for CudaDevice {
    fn name(&self) -> &'static str {
        NAME
    }

    fn target(&self) -> &dyn Target {
        &CudaTarget
    }

    fn budget(&self) -> &Budget {
        &self.budget
    }

    fn free_memory(&self) -> Option<u64> {
        self.driver.free_memory()
    }

    fn queue(&self) -> Result<Box<dyn DeviceQueue>, RunError> {
        Ok(Box::new(CudaQueue::new(&self.driver)?))
    }

    fn prepare(&self, plan: &VerifiedPlan) -> Result<Arc<dyn DeviceProgram>, RunError> {
        Ok(Arc::new(CudaProgram::new(plan, &*self.driver)?))
    }
}
