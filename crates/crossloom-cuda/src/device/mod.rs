//! CUDA as a device: plans bound to device memory and run on streams, through a small [`Driver`].
//!
//! A queue is a stream: what is started on it is done in order and later than the call returns. Numbers that an op does not
//! take are found by kernels, which write them into words that an event brings home; waiting for it gives the error. Kernels that
//! were started behind such a one see its word and do nothing, so what earlier steps updated stays as it is.

mod driver;
mod fake;
mod gpu;
mod memory;
mod program;
mod queue;

use std::fmt;
use std::sync::Arc;

use crossloom_compiler::Target;
use crossloom_runtime::{Budget, Device, DeviceProgram, DeviceQueue, RunError, VerifiedPlan};

pub use driver::{Driver, Graph, Mark, Module, Stream};
pub use fake::FakeDriver;
pub use gpu::{Choice, GpuDriver, GpuError};

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
    synchronous: bool,
    target: CudaTarget,
}

impl CudaDevice {
    /// The device of a driver, to be used up to a budget.
    pub fn new(driver: Arc<dyn Driver>, budget: Budget) -> Self {
        let target = CudaTarget { products: driver.products() };
        Self { driver, budget, synchronous: false, target }
    }

    /// The same, but every step is waited for before the next one starts: slow, and a fault on the device names the op, scope and
    /// kernel that made it. Without it the error comes with whatever is asked of the device next.
    #[must_use]
    pub fn synchronous(self, synchronous: bool) -> Self {
        Self { synchronous, ..self }
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
        &self.target
    }

    fn budget(&self) -> &Budget {
        &self.budget
    }

    fn free_memory(&self) -> Option<u64> {
        self.driver.free_memory()
    }

    fn queue(&self) -> Result<Box<dyn DeviceQueue>, RunError> {
        Ok(Box::new(CudaQueue::new(&self.driver, self.synchronous)?))
    }

    fn prepare(&self, plan: &VerifiedPlan) -> Result<Arc<dyn DeviceProgram>, RunError> {
        Ok(Arc::new(CudaProgram::new(plan, self.target, &*self.driver)?))
    }
}
