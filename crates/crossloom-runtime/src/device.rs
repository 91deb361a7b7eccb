//! What a kind of hardware implements.

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crossloom_compiler::Target;

use crate::{Budget, RunError, VerifiedPlan};

/// Bytes in host memory that somebody else owns and nobody writes.
pub type HostBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Hardware that runs plans.
pub trait Device: fmt::Debug + Send + Sync {
    /// Its name, as in `--backend`.
    fn name(&self) -> &'static str;

    /// Which kernels it has and how memory is aligned, for the compiler.
    fn target(&self) -> &dyn Target;

    /// How much of its memory may be used. Whoever allocates on a queue reserves here first.
    fn budget(&self) -> &Budget;

    /// Bytes of its memory that are free now, whoever uses the rest; `None` if it cannot be told.
    fn free_memory(&self) -> Option<u64>;

    /// A new queue.
    ///
    /// # Errors
    /// The device runs nothing, or has no room for another queue.
    fn queue(&self) -> Result<Box<dyn DeviceQueue>, RunError>;

    /// Makes a plan ready to run: finds, builds or loads its kernels. Allocates no memory of tensors.
    ///
    /// # Errors
    /// [`RunError::NoKernel`] if the plan names a kernel that the device does not have for those types, or lets a kernel
    /// do what it cannot.
    fn prepare(&self, plan: &VerifiedPlan) -> Result<Arc<dyn DeviceProgram>, RunError>;
}

/// An order of work with memory of its own. What was started first is done first. All access to memory goes through the
/// queue that it was allocated on, so whoever has the queue exclusively has its memory exclusively.
///
/// Every method refuses memory of another queue and ranges that are not within it.
pub trait DeviceQueue: Send {
    /// Memory of so many bytes, all zero, at an address that is a multiple of the target's alignment.
    ///
    /// # Errors
    /// There is not as much.
    fn allocate(&mut self, bytes: usize) -> Result<Arc<dyn DeviceMemory>, RunError>;

    /// Whether the device can compute in this host memory, whose start has to be a multiple of `alignment` bytes.
    fn adopts_in_place(&self, bytes: &HostBytes, alignment: usize) -> bool;

    /// Read-only memory with the content of host memory: that very memory if [`DeviceQueue::adopts_in_place`], otherwise
    /// a copy.
    ///
    /// # Errors
    /// A copy is needed and there is no room for it.
    fn adopt(&mut self, bytes: &HostBytes, alignment: usize) -> Result<Arc<dyn DeviceMemory>, RunError>;

    /// Copies bytes into memory, which nobody has to wait for; `bytes` may change once this returns.
    ///
    /// # Errors
    /// The memory is read-only.
    fn upload(&mut self, to: &dyn DeviceMemory, offset: usize, bytes: &[u8]) -> Result<(), RunError>;

    /// Sets memory to zero.
    ///
    /// # Errors
    /// The memory is read-only.
    fn clear(&mut self, memory: &dyn DeviceMemory) -> Result<(), RunError>;

    /// Waits for everything that was started before and copies bytes to the host.
    ///
    /// # Errors
    /// The device failed.
    fn download(&mut self, from: &dyn DeviceMemory, offset: usize, into: &mut [u8]) -> Result<(), RunError>;

    /// A program with the memory it works on: the arena, behind which from [`Plan::scratch_offset`](crossloom_compiler::Plan::scratch_offset) on the
    /// kernels' working memory lies, then one block per parameter of the plan's function.
    ///
    /// # Errors
    /// The number or sizes of the blocks are not the plan's, two of them are the same memory, or the program writes one
    /// that is read-only.
    fn bind(
        &mut self,
        program: &Arc<dyn DeviceProgram>,
        blocks: &[Arc<dyn DeviceMemory>],
    ) -> Result<Box<dyn DeviceBound>, RunError>;

    /// Starts some steps of a bound program, in order. Allocates nothing on the host if the device is synchronous.
    ///
    /// # Errors
    /// What is known at once; a synchronous device reports everything here.
    fn launch(&mut self, bound: &mut dyn DeviceBound, steps: Range<usize>) -> Result<Event, RunError>;
}

/// Memory of a device. It is given back when nobody holds it any more.
pub trait DeviceMemory: Any + fmt::Debug + Send + Sync {
    /// Number of bytes.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// For the device that made it.
    fn as_any(&self) -> &dyn Any;
}

/// A plan made ready, see [`Device::prepare`].
pub trait DeviceProgram: Any + Send + Sync {
    /// For the device that made it.
    fn as_any(&self) -> &dyn Any;

    /// The same, to be shared.
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

/// A program bound to memory, with whatever a device captured for it. It holds that memory.
pub trait DeviceBound: Any + Send {
    /// For the device that made it.
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

/// When work that was started is done.
#[derive(Clone, Default)]
pub struct Event(Option<Arc<dyn Pending>>);

/// Work that may not be done yet.
pub trait Pending: Send + Sync {
    /// Whether it is done, well or not.
    fn is_done(&self) -> bool;

    /// Waits until it is done.
    ///
    /// # Errors
    /// Why it failed; the same at every call.
    fn wait(&self) -> Result<(), RunError>;
}

impl Event {
    /// Work that is done.
    pub fn done() -> Self {
        Self(None)
    }

    /// Work that may not be done.
    pub fn pending(work: Arc<dyn Pending>) -> Self {
        Self(Some(work))
    }

    /// Whether it is done, well or not.
    pub fn is_done(&self) -> bool {
        self.0.as_ref().is_none_or(|work| work.is_done())
    }

    /// Waits until it is done.
    ///
    /// # Errors
    /// Why it failed; the same at every call.
    pub fn wait(&self) -> Result<(), RunError> {
        self.0.as_ref().map_or(Ok(()), |work| work.wait())
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_done() { "Event(done)" } else { "Event(pending)" })
    }
}
