//! The CPU and its queues.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossloom_compiler::Target;
use crossloom_runtime::{
    Budget, Device, DeviceBound, DeviceMemory, DeviceProgram, DeviceQueue, Event, HostBytes, RunError,
    VerifiedPlan,
};

use super::CpuTarget;
use super::memory::CpuMemory;
use super::program::{CpuBound, CpuProgram};
use crate::isa;

pub(super) const NAME: &str = "cpu";

/// The processor and its memory. A queue runs on the thread that uses it, and in the thread pool that is current there.
#[derive(Clone, Debug)]
pub struct CpuDevice {
    budget: Budget,
}

impl Default for CpuDevice {
    fn default() -> Self {
        Self::with_budget(Budget::unlimited())
    }
}

impl CpuDevice {
    /// The CPU, to be used up to a budget.
    pub fn with_budget(budget: Budget) -> Self {
        Self { budget }
    }

    /// The CPU without a budget, to be shared.
    pub fn shared() -> Arc<dyn Device> {
        Arc::new(Self::default())
    }
}

impl Device for CpuDevice {
    fn name(&self) -> &'static str {
        NAME
    }

    fn target(&self) -> &dyn Target {
        &CpuTarget
    }

    fn budget(&self) -> &Budget {
        &self.budget
    }

    fn free_memory(&self) -> Option<u64> {
        None
    }

    fn queue(&self) -> Result<Box<dyn DeviceQueue>, RunError> {
        isa().map_err(|error| failed(error.to_string()))?;
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Ok(Box::new(CpuQueue { number: NEXT.fetch_add(1, Ordering::Relaxed) }))
    }

    fn prepare(&self, plan: &VerifiedPlan) -> Result<Arc<dyn DeviceProgram>, RunError> {
        Ok(Arc::new(CpuProgram::new(plan)?))
    }
}

/// Does at once what it is given. Its number is that of no other queue of the process; with exclusive access to it comes
/// exclusive access to all memory that bears the number.
#[derive(Debug)]
struct CpuQueue {
    number: u64,
}

/// An error of the CPU.
pub(super) fn failed(message: impl Into<String>) -> RunError {
    RunError::device(NAME, message)
}

impl CpuQueue {
    /// Memory of this queue.
    fn own<'m>(&self, memory: &'m dyn DeviceMemory) -> Result<&'m CpuMemory, RunError> {
        let memory = memory.as_any().downcast_ref::<CpuMemory>();
        let own = memory.filter(|memory| memory.queue() == self.number);
        own.ok_or_else(|| failed("memory of another queue or device"))
    }

    /// Memory of this queue that may be written.
    fn writable<'m>(&self, memory: &'m dyn DeviceMemory) -> Result<&'m CpuMemory, RunError> {
        let memory = self.own(memory)?;
        if memory.is_read_only() { Err(failed("read-only memory cannot be written")) } else { Ok(memory) }
    }
}

/// Whether a range lies in memory.
fn check_range(memory: &CpuMemory, offset: usize, len: usize) -> Result<(), RunError> {
    if offset.checked_add(len).is_some_and(|end| end <= memory.len()) {
        return Ok(());
    }
    Err(failed(format!("{len} bytes at {offset} are not within memory of {} bytes", memory.len())))
}

impl DeviceQueue for CpuQueue {
    fn allocate(&mut self, bytes: usize) -> Result<Arc<dyn DeviceMemory>, RunError> {
        let memory = CpuMemory::zeroed(self.number, bytes);
        Ok(Arc::new(memory.ok_or_else(|| failed(format!("the system has no {bytes} bytes")))?))
    }

    fn adopts_in_place(&self, bytes: &HostBytes, alignment: usize) -> bool {
        (**bytes).as_ref().as_ptr().addr().is_multiple_of(alignment)
    }

    fn adopt(&mut self, bytes: &HostBytes, alignment: usize) -> Result<Arc<dyn DeviceMemory>, RunError> {
        if self.adopts_in_place(bytes, alignment) {
            return Ok(Arc::new(CpuMemory::adopted(self.number, bytes)));
        }
        let content = (**bytes).as_ref();
        let memory = self.allocate(content.len())?;
        self.upload(&*memory, 0, content)?;
        Ok(memory)
    }

    fn upload(&mut self, to: &dyn DeviceMemory, offset: usize, bytes: &[u8]) -> Result<(), RunError> {
        let memory = self.writable(to)?;
        check_range(memory, offset, bytes.len())?;
        // SAFETY: the range lies in the memory, which is this queue's and so borrowed by nobody while `self` is borrowed
        // exclusively; `bytes` is a borrow of something else.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), memory.start().add(offset), bytes.len()) };
        Ok(())
    }

    fn clear(&mut self, memory: &dyn DeviceMemory) -> Result<(), RunError> {
        let memory = self.writable(memory)?;
        // SAFETY: as in `upload`; the range is the whole memory.
        unsafe { std::ptr::write_bytes(memory.start(), 0, memory.len()) };
        Ok(())
    }

    fn download(&mut self, from: &dyn DeviceMemory, offset: usize, into: &mut [u8]) -> Result<(), RunError> {
        let memory = self.own(from)?;
        check_range(memory, offset, into.len())?;
        // SAFETY: as in `upload`.
        unsafe { std::ptr::copy_nonoverlapping(memory.start().add(offset), into.as_mut_ptr(), into.len()) };
        Ok(())
    }

    fn bind(
        &mut self,
        program: &Arc<dyn DeviceProgram>,
        blocks: &[Arc<dyn DeviceMemory>],
    ) -> Result<Box<dyn DeviceBound>, RunError> {
        let program = Arc::clone(program).into_any().downcast::<CpuProgram>();
        let program = program.map_err(|_| failed("a program of another device"))?;
        let own: Vec<&CpuMemory> = blocks.iter().map(|block| self.own(&**block)).collect::<Result<_, _>>()?;
        let slices = program.slices(&own)?;
        Ok(Box::new(CpuBound { queue: self.number, program, slices, _blocks: blocks.to_vec() }))
    }

    fn launch(&mut self, bound: &mut dyn DeviceBound, steps: Range<usize>) -> Result<Event, RunError> {
        let bound = bound.as_any_mut().downcast_mut::<CpuBound>().filter(|bound| bound.queue == self.number);
        let bound = bound.ok_or_else(|| failed("a program bound to another queue or device"))?;
        // SAFETY: the memory that the program was bound to is this queue's, and `self` is borrowed exclusively.
        unsafe { bound.run(steps)? };
        Ok(Event::done())
    }
}
