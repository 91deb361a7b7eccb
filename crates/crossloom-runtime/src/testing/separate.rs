//! A device with memory of its own: every allocation lives behind a number on a worker thread, work is done late and one
//! piece after the other, and what the host gets before it waits is poison. Kernels are borrowed from another device,
//! whose queue the worker owns.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use crossloom_compiler::Target;

use crate::{
    Budget, Device, DeviceBound, DeviceMemory, DeviceProgram, DeviceQueue, Event, HostBytes, Pending,
    RunError, VerifiedPlan,
};

const NAME: &str = "separate";
/// What host memory holds before a download is done: as a float, a NaN.
const POISON: u8 = 0xFF;

/// A defect planted into the device, which a suite has to notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Downloads do not wait for the work before them, nor for themselves.
    NoWait,
    /// Waiting for an event returns at once and knows of no error.
    NoEvents,
    /// Memory is not zero at first.
    NotZeroed,
}

/// See the head of this module.
#[derive(Clone, Debug)]
pub struct SeparateDevice {
    inner: Arc<dyn Device>,
    budget: Budget,
    delay: Duration,
    fault: Option<Fault>,
    gate: Arc<Gate>,
}

/// Holds all workers of a device back while it is closed.
#[derive(Debug, Default)]
struct Gate {
    closed: Mutex<bool>,
    opened: Condvar,
}

impl SeparateDevice {
    /// A device with the kernels of another, every piece of work done so much later.
    pub fn new(inner: Arc<dyn Device>, delay: Duration, budget: Budget) -> Self {
        Self { inner, budget, delay, fault: None, gate: Arc::default() }
    }

    /// The same with a planted defect.
    #[must_use]
    pub fn with_fault(self, fault: Fault) -> Self {
        Self { fault: Some(fault), ..self }
    }

    /// Whether all work is held back from now on.
    pub fn hold(&self, closed: bool) {
        *self.gate.closed.lock().unwrap() = closed;
        self.gate.opened.notify_all();
    }
}

impl Device for SeparateDevice {
    fn name(&self) -> &'static str {
        NAME
    }

    fn target(&self) -> &dyn Target {
        self.inner.target()
    }

    fn budget(&self) -> &Budget {
        &self.budget
    }

    fn free_memory(&self) -> Option<u64> {
        None
    }

    fn queue(&self) -> Result<Box<dyn DeviceQueue>, RunError> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let (work, todo) = channel();
        let world = World { queue: self.inner.queue()?, memories: BTreeMap::new(), bounds: BTreeMap::new() };
        let (delay, gate) = (self.delay, Arc::clone(&self.gate));
        thread::spawn(move || worker(world, &todo, delay, &gate));
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(Queue { number, next: 0, work, fault: self.fault }))
    }

    fn prepare(&self, plan: &VerifiedPlan) -> Result<Arc<dyn DeviceProgram>, RunError> {
        Ok(Arc::new(Program(self.inner.prepare(plan)?)))
    }
}

/// What lives on the worker's side.
struct World {
    queue: Box<dyn DeviceQueue>,
    memories: BTreeMap<u64, Arc<dyn DeviceMemory>>,
    bounds: BTreeMap<u64, Box<dyn DeviceBound>>,
}

type Work = Box<dyn FnOnce(&mut World) + Send>;

fn worker(mut world: World, todo: &Receiver<Work>, delay: Duration, gate: &Gate) {
    while let Ok(work) = todo.recv() {
        let open = gate.opened.wait_while(gate.closed.lock().unwrap(), |closed| *closed);
        drop(open);
        thread::sleep(delay);
        work(&mut world);
    }
}

/// A value that the worker gives later.
struct Later<T> {
    value: Mutex<Option<T>>,
    there: Condvar,
}

impl<T: Clone> Later<T> {
    fn new() -> Self {
        Self { value: Mutex::new(None), there: Condvar::new() }
    }

    fn set(&self, value: T) {
        *self.value.lock().unwrap() = Some(value);
        self.there.notify_all();
    }

    fn get(&self) -> T {
        let there = self.there.wait_while(self.value.lock().unwrap(), |value| value.is_none());
        there.unwrap().clone().expect("waited for it")
    }
}

impl Pending for Later<Result<(), RunError>> {
    fn is_done(&self) -> bool {
        self.value.lock().unwrap().is_some()
    }

    fn wait(&self) -> Result<(), RunError> {
        self.get()
    }
}

/// The host's side.
struct Queue {
    number: u64,
    next: u64,
    work: Sender<Work>,
    fault: Option<Fault>,
}

/// A number for memory on the worker's side, which goes with it.
struct Memory {
    queue: u64,
    id: u64,
    len: usize,
    read_only: bool,
    work: Sender<Work>,
}

struct Program(Arc<dyn DeviceProgram>);

struct Bound {
    queue: u64,
    id: u64,
    work: Sender<Work>,
}

impl Queue {
    fn start(&self, work: impl FnOnce(&mut World) + Send + 'static) -> Result<(), RunError> {
        self.work.send(Box::new(work)).map_err(|_| RunError::device(NAME, "the worker is gone"))
    }

    /// Has work done and waits for what it gives.
    fn ask<T: Clone + Send + 'static>(
        &self,
        work: impl FnOnce(&mut World) -> Result<T, RunError> + Send + 'static,
    ) -> Result<T, RunError> {
        let later = Arc::new(Later::new());
        let given = Arc::clone(&later);
        self.start(move |world| given.set(work(world)))?;
        later.get()
    }

    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn own(&self, memory: &dyn DeviceMemory, write: bool) -> Result<u64, RunError> {
        let memory = memory.as_any().downcast_ref::<Memory>().filter(|memory| memory.queue == self.number);
        let memory = memory.ok_or_else(|| RunError::device(NAME, "memory of another queue or device"))?;
        if write && memory.read_only {
            return Err(RunError::device(NAME, "read-only memory cannot be written"));
        }
        Ok(memory.id)
    }

    fn new_memory(&mut self, len: usize, read_only: bool) -> (u64, Arc<dyn DeviceMemory>) {
        let id = self.id();
        let work = self.work.clone();
        (id, Arc::new(Memory { queue: self.number, id, len, read_only, work }))
    }
}

impl DeviceQueue for Queue {
    fn allocate(&mut self, bytes: usize) -> Result<Arc<dyn DeviceMemory>, RunError> {
        let (id, memory) = self.new_memory(bytes, false);
        let zeroed = self.fault != Some(Fault::NotZeroed);
        self.ask(move |world| {
            let memory = world.queue.allocate(bytes)?;
            if !zeroed {
                world.queue.upload(&*memory, 0, &vec![POISON; bytes])?;
            }
            world.memories.insert(id, memory);
            Ok(())
        })?;
        Ok(memory)
    }

    fn adopts_in_place(&self, _: &HostBytes, _: usize) -> bool {
        false
    }

    fn adopt(&mut self, bytes: &HostBytes, _: usize) -> Result<Arc<dyn DeviceMemory>, RunError> {
        let content = (**bytes).as_ref().to_vec();
        let (id, memory) = self.new_memory(content.len(), true);
        self.ask(move |world| {
            let memory = world.queue.allocate(content.len())?;
            world.queue.upload(&*memory, 0, &content)?;
            world.memories.insert(id, memory);
            Ok(())
        })?;
        Ok(memory)
    }

    fn upload(&mut self, to: &dyn DeviceMemory, offset: usize, bytes: &[u8]) -> Result<(), RunError> {
        let id = self.own(to, true)?;
        if offset + bytes.len() > to.len() {
            return Err(RunError::device(NAME, "a range that is not within its memory"));
        }
        let bytes = bytes.to_vec();
        self.start(move |world| {
            let memory = Arc::clone(&world.memories[&id]);
            world.queue.upload(&*memory, offset, &bytes).expect("the range was checked");
        })
    }

    fn clear(&mut self, memory: &dyn DeviceMemory) -> Result<(), RunError> {
        let id = self.own(memory, true)?;
        self.start(move |world| {
            let memory = Arc::clone(&world.memories[&id]);
            world.queue.clear(&*memory).expect("it may be written");
        })
    }

    fn download(&mut self, from: &dyn DeviceMemory, offset: usize, into: &mut [u8]) -> Result<(), RunError> {
        let (id, len) = (self.own(from, false)?, into.len());
        into.fill(POISON);
        if self.fault == Some(Fault::NoWait) {
            return Ok(());
        }
        let bytes = self.ask(move |world| {
            let mut bytes = vec![0; len];
            let memory = Arc::clone(&world.memories[&id]);
            world.queue.download(&*memory, offset, &mut bytes)?;
            Ok(bytes)
        })?;
        into.copy_from_slice(&bytes);
        Ok(())
    }

    fn bind(
        &mut self,
        program: &Arc<dyn DeviceProgram>,
        blocks: &[Arc<dyn DeviceMemory>],
    ) -> Result<Box<dyn DeviceBound>, RunError> {
        let program = program.as_any().downcast_ref::<Program>().map(|program| Arc::clone(&program.0));
        let program = program.ok_or_else(|| RunError::device(NAME, "a program of another device"))?;
        let ids: Vec<u64> = blocks.iter().map(|block| self.own(&**block, false)).collect::<Result<_, _>>()?;
        let id = self.id();
        self.ask(move |world| {
            let blocks: Vec<_> = ids.iter().map(|id| Arc::clone(&world.memories[id])).collect();
            let bound = world.queue.bind(&program, &blocks)?;
            world.bounds.insert(id, bound);
            Ok(())
        })?;
        Ok(Box::new(Bound { queue: self.number, id, work: self.work.clone() }))
    }

    fn launch(&mut self, bound: &mut dyn DeviceBound, steps: Range<usize>) -> Result<Event, RunError> {
        let bound = bound.as_any_mut().downcast_mut::<Bound>().filter(|bound| bound.queue == self.number);
        let id = bound.ok_or_else(|| RunError::device(NAME, "a program bound to another queue"))?.id;
        let later = Arc::new(Later::new());
        let done = Arc::clone(&later);
        self.start(move |world| {
            let World { queue, bounds, .. } = world;
            let bound = bounds.get_mut(&id).expect("it lives as long as its handle");
            done.set(queue.launch(&mut **bound, steps).and_then(|event| event.wait()));
        })?;
        Ok(if self.fault == Some(Fault::NoEvents) { Event::done() } else { Event::pending(later) })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let id = self.id;
        // A worker that is gone has let go of everything.
        let _gone = self.work.send(Box::new(move |world: &mut World| drop(world.memories.remove(&id))));
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let id = self.id;
        let _gone = self.work.send(Box::new(move |world: &mut World| drop(world.bounds.remove(&id))));
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({}, {} bytes)", self.id, self.len)
    }
}

impl DeviceMemory for Memory {
    fn len(&self) -> usize {
        self.len
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl DeviceProgram for Program {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl DeviceBound for Bound {
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
