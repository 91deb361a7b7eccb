//! A stream as a queue.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossloom_runtime::{
    DeviceBound, DeviceMemory, DeviceProgram, DeviceQueue, Event, HostBytes, Pending, RunError,
};

use super::memory::CudaMemory;
use super::program::{Bound, CudaBound, CudaProgram, Placed, Whole};
use super::{Driver, Mark, Stream, failed};

/// A stream and its number, which is that of no other queue of the process; with exclusive access to it comes exclusive
/// access to all memory that bears the number.
pub(super) struct CudaQueue {
    number: u64,
    driver: Arc<dyn Driver>,
    stream: Box<dyn Stream>,
    /// Whether every step is waited for, so that an error names the step that made it.
    synchronous: bool,
}

impl CudaQueue {
    pub(super) fn new(driver: &Arc<dyn Driver>, synchronous: bool) -> Result<Self, RunError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let stream = driver.stream().map_err(failed)?;
        Ok(Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            driver: Arc::clone(driver),
            stream,
            synchronous,
        })
    }

    /// Memory of this queue.
    fn own<'m>(&self, memory: &'m dyn DeviceMemory) -> Result<&'m CudaMemory, RunError> {
        let memory = memory.as_any().downcast_ref::<CudaMemory>();
        let own = memory.filter(|memory| memory.queue() == self.number);
        own.ok_or_else(|| failed("memory of another queue or device"))
    }

    /// Starts steps one launch after the other, or has them captured.
    fn start(&mut self, bound: &CudaBound, steps: Range<usize>) -> Result<(), RunError> {
        // All of them: a word of a step that is not run now may be left from an earlier run.
        let (words, bytes) = (bound.words.address(), bound.words.len());
        // SAFETY: the words were made by this stream's driver and live as long as the bound program.
        unsafe { self.stream.fill(words, 0xff, bytes) }.map_err(failed)?;
        let chosen = bound.steps.iter().enumerate().take(steps.end).skip(steps.start);
        for (index, range) in chosen {
            let broken = |message| bound.program.broken(index, message);
            for launch in &bound.launches[range.clone()] {
                // SAFETY: the addresses are those of the kernel's own list of arguments. They lie in blocks of the verified plan, each of
                // its size, which are memory of this queue, live as long as `bound` and are different from each other; so
                // a step's results are apart from its operands but for pairs that its kernel declares. The queue is borrowed
                // exclusively, and what it starts is done in order. `free` waits for what was started.
                let started = unsafe {
                    match launch {
                        Bound::Launch { kernel, geometry, addresses } => {
                            self.stream.launch(&bound.program.module, kernel, *geometry, addresses)
                        }
                        Bound::Product { product, at } => self.stream.multiply(product, at),
                    }
                };
                started.map_err(broken)?;
            }
            if self.synchronous {
                self.stream.wait().map_err(broken)?;
            }
        }
        Ok(())
    }

    /// Memory of this queue that may be written.
    fn writable<'m>(&self, memory: &'m dyn DeviceMemory) -> Result<&'m CudaMemory, RunError> {
        let memory = self.own(memory)?;
        if memory.is_read_only() { Err(failed("read-only memory cannot be written")) } else { Ok(memory) }
    }
}

impl DeviceQueue for CudaQueue {
    fn allocate(&mut self, bytes: usize) -> Result<Arc<dyn DeviceMemory>, RunError> {
        let memory = CudaMemory::new(self.number, &self.driver, bytes, false)?;
        self.clear(&memory)?;
        Ok(Arc::new(memory))
    }

    fn adopts_in_place(&self, _: &HostBytes, _: usize) -> bool {
        false
    }

    fn adopt(&mut self, bytes: &HostBytes, _: usize) -> Result<Arc<dyn DeviceMemory>, RunError> {
        let content = (**bytes).as_ref();
        let memory = CudaMemory::new(self.number, &self.driver, content.len(), true)?;
        // SAFETY: the memory was just made by this stream's driver, with as many bytes.
        unsafe { self.stream.upload(memory.address(), content) }.map_err(failed)?;
        Ok(Arc::new(memory))
    }

    fn upload(&mut self, to: &dyn DeviceMemory, offset: usize, bytes: &[u8]) -> Result<(), RunError> {
        let at = self.writable(to)?.range(offset, bytes.len())?;
        // SAFETY: the range lies in memory of this queue, which the same driver made and `to` keeps.
        unsafe { self.stream.upload(at, bytes) }.map_err(failed)
    }

    fn clear(&mut self, memory: &dyn DeviceMemory) -> Result<(), RunError> {
        let memory = self.writable(memory)?;
        // SAFETY: as in `upload`; the range is the whole memory.
        unsafe { self.stream.fill(memory.address(), 0, memory.len()) }.map_err(failed)
    }

    fn download(&mut self, from: &dyn DeviceMemory, offset: usize, into: &mut [u8]) -> Result<(), RunError> {
        let at = self.own(from)?.range(offset, into.len())?;
        // SAFETY: as in `upload`.
        unsafe { self.stream.download(at, into) }.map_err(failed)
    }

    fn bind(
        &mut self,
        program: &Arc<dyn DeviceProgram>,
        blocks: &[Arc<dyn DeviceMemory>],
    ) -> Result<Box<dyn DeviceBound>, RunError> {
        let program = Arc::clone(program).into_any().downcast::<CudaProgram>();
        let program = program.map_err(|_| failed("a program of another device"))?;
        let own: Vec<&CudaMemory> =
            blocks.iter().map(|block| self.own(&**block)).collect::<Result<_, _>>()?;
        let words = CudaMemory::new(self.number, &self.driver, (1 + program.plan.steps.len()) * 8, false)?;
        let tables = CudaMemory::new(self.number, &self.driver, program.table_bytes(), false)?;
        let Placed { launches, steps, tables: content } = program.launches(&own, &words, &tables)?;
        let at = tables.range(0, content.len())?;
        // SAFETY: the range lies in the memory that was just made by this stream's driver.
        unsafe { self.stream.upload(at, &content) }.map_err(failed)?;
        let (queue, blocks) = (self.number, blocks.to_vec());
        Ok(Box::new(CudaBound {
            queue,
            program,
            launches,
            steps,
            whole: Whole::Never,
            words,
            _tables: tables,
            _blocks: blocks,
        }))
    }

    fn launch(&mut self, bound: &mut dyn DeviceBound, steps: Range<usize>) -> Result<Event, RunError> {
        let bound = bound.as_any_mut().downcast_mut::<CudaBound>().filter(|bound| bound.queue == self.number);
        let bound = bound.ok_or_else(|| failed("a program bound to another queue or device"))?;
        if bound.steps.get(steps.clone()).is_none() {
            return Err(failed(format!("steps {steps:?} of {}", bound.steps.len())));
        }
        let all = steps.len() == bound.steps.len() && !self.synchronous;
        match (&bound.whole, all) {
            (Whole::Captured(graph), true) => {
                // SAFETY: what it keeps are the fills and launches of `start` below, on memory that lives as long as `bound`.
                unsafe { self.stream.replay(graph) }.map_err(failed)?;
            }
            (Whole::Once, true) => {
                self.stream.begin_capture().map_err(failed)?;
                let started = self.start(bound, steps);
                // The capture ends however it went.
                let graph = self.stream.end_capture();
                started?;
                let graph = graph.map_err(failed)?;
                // SAFETY: as above.
                unsafe { self.stream.replay(&graph) }.map_err(failed)?;
                bound.whole = Whole::Captured(graph);
            }
            _ => {
                self.start(bound, steps)?;
                if all {
                    bound.whole = Whole::Once;
                }
            }
        }
        let (words, bytes) = (bound.words.address(), bound.words.len());
        // SAFETY: as for the words above.
        let mark = unsafe { self.stream.mark(words, bytes) }.map_err(failed)?;
        Ok(Event::pending(Arc::new(Run { mark, program: Arc::clone(&bound.program) })))
    }
}

/// Steps that were started.
struct Run {
    mark: Arc<dyn Mark>,
    program: Arc<CudaProgram>,
}

impl Pending for Run {
    fn is_done(&self) -> bool {
        self.mark.is_done()
    }

    fn wait(&self) -> Result<(), RunError> {
        let words = self.mark.wait().map_err(failed)?;
        // The first word is nobody's.
        let words = words.as_chunks::<8>().0.iter().skip(1).map(|&word| u64::from_ne_bytes(word));
        let mut refused = words.enumerate().filter(|(_, word)| *word != u64::MAX);
        refused.next().map_or(Ok(()), |(step, word)| Err(self.program.refusal(step, word)))
    }
}
