//! Memory of a queue.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crossloom_runtime::{DeviceMemory, RunError};

use super::{Driver, failed};

/// Bytes on the device.
pub(super) struct CudaMemory {
    /// The queue that it belongs to.
    queue: u64,
    address: u64,
    len: usize,
    read_only: bool,
    driver: Arc<dyn Driver>,
}

impl CudaMemory {
    /// Memory with any content.
    pub(super) fn new(
        queue: u64,
        driver: &Arc<dyn Driver>,
        len: usize,
        read_only: bool,
    ) -> Result<Self, RunError> {
        // An address of its own, so that two pieces of memory are never the same.
        let address = driver.allocate(len.max(1)).map_err(failed)?;
        Ok(Self { queue, address, len, read_only, driver: Arc::clone(driver) })
    }

    /// Where so many bytes lie from an offset on.
    pub(super) fn range(&self, offset: usize, len: usize) -> Result<u64, RunError> {
        if offset.checked_add(len).is_some_and(|end| end <= self.len) {
            return Ok(self.address + offset as u64);
        }
        Err(failed(format!("{len} bytes at {offset} are not within memory of {} bytes", self.len)))
    }

    /// The queue it belongs to.
    pub(super) fn queue(&self) -> u64 {
        self.queue
    }

    /// Where it starts.
    pub(super) fn address(&self) -> u64 {
        self.address
    }

    /// Whether nothing may write it.
    pub(super) fn is_read_only(&self) -> bool {
        self.read_only
    }
}

impl fmt::Debug for CudaMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CudaMemory({} bytes)", self.len)
    }
}

impl Drop for CudaMemory {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` of this driver, and given back once. What is started later would need this value: queues reach
        // memory through it, and bound programs hold it.
        unsafe { self.driver.free(self.address) };
    }
}

impl DeviceMemory for CudaMemory {
    fn len(&self) -> usize {
        self.len
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
