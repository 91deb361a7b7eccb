//! An executable bound to a store and an arena.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossloom_compiler::plan::{Block, Place};
use crossloom_ir::{DType, Role, TensorType, Value};

use crate::arena::State;
use crate::store::{Inner, Memory};
use crate::{
    Arena, DeviceMemory, Element, Event, Executable, Home, MappedFile, RunError, Store, VerifiedPlan,
};

/// The first value that is not finite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NonFinite {
    /// The op that made it.
    pub op: String,
    /// Where it stands.
    pub scope: String,
    /// The value, as printed in the IR.
    pub value: String,
}

/// Time one step took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepTime {
    /// Index of the step in the plan, which names its kernel.
    pub step: usize,
    /// Time from its start until it was done.
    pub time: Duration,
}

/// An executable bound to a store and an arena: inputs are written, the whole is run, results are read.
///
/// A result that lies in the arena is there until another session runs in the same arena; reading it later is an error.
#[derive(Debug)]
pub struct Session {
    executable: Executable,
    arena: Arena,
    /// Its number in the arena.
    number: u64,
    /// Memory of the parameters, in order.
    params: Vec<Arc<dyn DeviceMemory>>,
    /// Memory of the inputs, which belongs to the session.
    _inputs: Vec<Memory>,
    /// Inputs by name: the parameter's index.
    inputs: BTreeMap<String, usize>,
    /// Results that update nothing, by name.
    results: BTreeMap<String, Value>,
    /// Files that parameters are mapped from.
    files: Vec<Arc<MappedFile>>,
    last: Mutex<Last>,
}

/// The last run.
#[derive(Debug, Default)]
struct Last {
    event: Event,
    /// Whether it was started and has not failed as far as is known.
    ran: bool,
}

impl Session {
    /// Binds an executable to an arena and to the arena's store. Tensors the store does not have yet are added, filled
    /// with zeros; the arena grows if it has to.
    ///
    /// # Errors
    /// - [`RunError::OtherDevice`]: the executable was prepared for another device than the store's.
    /// - [`RunError::Mismatch`]: the store has a tensor of another type under a parameter's name.
    /// - [`RunError::ReadOnly`]: the plan updates a tensor that is not owned.
    /// - [`RunError::File`]: a file that a tensor is mapped from has changed.
    /// - [`RunError::OverBudget`], [`RunError::Device`]: there is no room.
    ///
    /// But for the last, nothing has been added to the store then.
    pub fn new(executable: &Executable, arena: &Arena) -> Result<Self, RunError> {
        let (store, plan) = (arena.store(), executable.plan());
        if !Arc::ptr_eq(executable.device(), store.device()) {
            return Err(RunError::OtherDevice {
                function: plan.func.name.clone(),
                device: executable.device().name(),
                store: store.device().name(),
            });
        }
        let mut inner = store.lock();
        let files = check_held(plan, &inner)?;
        let (mut params, mut memories, mut inputs) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (index, param) in plan.func.params().iter().enumerate() {
            let ty = plan.func.ty(param.value);
            params.push(if param.role == Role::Input {
                let memory = store.allocate(&mut inner, ty.bytes())?;
                let raw = Arc::clone(&memory.raw);
                memories.push(memory);
                inputs.insert(param.name.clone(), index);
                raw
            } else {
                let at = store.ensure(&mut inner, &param.name, param.role, ty)?;
                Arc::clone(&inner.at(at).memory.raw)
            });
        }
        let bytes = plan.arena_bytes().unwrap_or(usize::MAX);
        let number = arena.lease(&mut inner, bytes)?;
        let given = plan.func.results().iter().filter(|result| result.updates.is_none());
        let results = given.map(|result| (result.name.clone(), result.value)).collect();
        let session = Self {
            executable: executable.clone(),
            arena: arena.clone(),
            number,
            params,
            _inputs: memories,
            inputs,
            results,
            files,
            last: Mutex::default(),
        };
        let bound = session.bind(&mut inner, &mut arena.lock());
        // A session that goes takes the lock.
        drop(inner);
        bound.map(|()| session)
    }

    /// The plan.
    pub fn plan(&self) -> &VerifiedPlan {
        self.executable.plan()
    }

    /// The store.
    pub fn store(&self) -> &Store {
        self.arena.store()
    }

    /// Whether there is an input of that name.
    pub fn has_input(&self, name: &str) -> bool {
        self.inputs.contains_key(name)
    }

    /// The type of an input.
    ///
    /// # Errors
    /// There is no input of that name.
    pub fn input_type(&self, name: &str) -> Result<&TensorType, RunError> {
        self.input(name).map(|(_, ty)| ty)
    }

    /// The type of a result.
    ///
    /// # Errors
    /// There is no result of that name.
    pub fn result_type(&self, name: &str) -> Result<&TensorType, RunError> {
        self.result(name).map(|(_, ty)| ty)
    }

    /// Writes an input, row-major.
    ///
    /// # Errors
    /// There is no input of that name, or it has another element type or number of elements.
    pub fn write<T: Element>(&mut self, name: &str, values: &[T]) -> Result<(), RunError> {
        let (index, ty) = self.input(name)?;
        typed::<T>("input", name, ty, values.len())?;
        self.store().lock().queue.upload(&*self.params[index], 0, bytemuck::cast_slice(values))
    }

    /// Runs all steps. On an asynchronous device they may not be done when this returns.
    ///
    /// # Errors
    /// - [`RunError::File`]: a file that a tensor is mapped from has changed.
    /// - [`RunError::Step`]: an op refused its operands; the error names op and scope. What earlier steps updated stays
    ///   updated. An asynchronous device reports this at the next [`Session::wait`] or [`Session::read`].
    pub fn run(&mut self) -> Result<(), RunError> {
        self.launch(0..self.plan().steps.len())
    }

    /// Whether the last run is done, well or not, as far as one can tell without waiting.
    pub fn is_done(&self) -> bool {
        self.last().event.is_done()
    }

    /// Waits until the last run is done.
    ///
    /// # Errors
    /// Why it failed; told once.
    pub fn wait(&self) -> Result<(), RunError> {
        let mut last = self.last();
        let done = last.event.wait();
        last.event = Event::done();
        last.ran &= done.is_ok();
        done
    }

    /// Reads a result of the last run, row-major. Waits for it.
    ///
    /// # Errors
    /// - [`RunError::Unknown`], [`RunError::WrongType`]: there is no result of that name and element type.
    /// - [`RunError::NotRun`], [`RunError::Overwritten`]: there is nothing to read, or not any more.
    /// - Why the run failed.
    pub fn read<T: Element>(&self, name: &str) -> Result<Vec<T>, RunError> {
        let mut values = vec![T::zeroed(); self.result_type(name)?.elements()];
        self.read_into(name, &mut values)?;
        Ok(values)
    }

    /// Reads a result of the last run into memory of the caller. Allocates nothing.
    ///
    /// # Errors
    /// As [`Session::read`], and [`RunError::Length`] if there is not as much room as the result has elements.
    pub fn read_into<T: Element>(&self, name: &str, into: &mut [T]) -> Result<(), RunError> {
        let (value, ty) = self.result(name)?;
        typed::<T>("result", name, ty, into.len())?;
        self.wait()?;
        let function = || self.plan().func.name.clone();
        if !self.last().ran {
            return Err(RunError::NotRun { function: function(), name: name.to_owned() });
        }
        let place = self.plan().place(value);
        let mut inner = self.store().lock();
        let mut state = self.arena.lock();
        if place.block == Block::Arena && state.holder != Some(self.number) {
            return Err(RunError::Overwritten { function: function(), name: name.to_owned() });
        }
        self.download(&mut inner, &mut state, place, bytemuck::cast_slice_mut(into))
    }

    /// Runs all steps one by one and reports the time of each.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn profile(&mut self) -> Result<Vec<StepTime>, RunError> {
        let steps = self.plan().steps.len();
        let mut times = Vec::with_capacity(steps);
        for step in 0..steps {
            let start = Instant::now();
            self.launch(step..step + 1)?;
            self.wait()?;
            times.push(StepTime { step, time: start.elapsed() });
        }
        Ok(times)
    }

    /// Runs step by step until a float result is not finite, and says which.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn find_non_finite(&mut self) -> Result<Option<NonFinite>, RunError> {
        let mut bytes = Vec::new();
        for step in 0..self.plan().steps.len() {
            self.launch(step..step + 1)?;
            self.wait()?;
            let plan = self.executable.plan();
            let inst = plan.func.inst(plan.steps[step].inst);
            for &value in &inst.outputs {
                let place = plan.place(value);
                let Some(finite) = finite_of(plan.func.ty(value)) else { continue };
                bytes.resize(place.len, 0);
                let mut inner = self.store().lock();
                self.download(&mut inner, &mut self.arena.lock(), place, &mut bytes)?;
                if !finite(&bytes) {
                    // What comes after was not computed.
                    self.last().ran = false;
                    return Ok(Some(NonFinite {
                        op: inst.op.mnemonic().to_owned(),
                        scope: inst.scope.to_string(),
                        value: value.to_string(),
                    }));
                }
            }
        }
        Ok(None)
    }

    fn input(&self, name: &str) -> Result<(usize, &TensorType), RunError> {
        let unknown = || RunError::Unknown { kind: "input", name: name.to_owned() };
        let &index = self.inputs.get(name).ok_or_else(unknown)?;
        let func = &self.plan().func;
        Ok((index, func.ty(func.params()[index].value)))
    }

    fn result(&self, name: &str) -> Result<(Value, &TensorType), RunError> {
        let unknown = || RunError::Unknown { kind: "result", name: name.to_owned() };
        let &value = self.results.get(name).ok_or_else(unknown)?;
        Ok((value, self.plan().func.ty(value)))
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts some steps.
    fn launch(&mut self, steps: Range<usize>) -> Result<(), RunError> {
        *self.last() = Last::default();
        let mut inner = self.store().lock();
        let mut state = self.arena.lock();
        for file in &self.files {
            file.check()?;
        }
        if state.bound(self.number).is_none() {
            self.bind(&mut inner, &mut state)?;
        }
        // Until all of it is there, nobody's results are.
        state.holder = None;
        let Some(bound) = state.bound(self.number) else {
            let message = format!("@{} could not be bound", self.plan().func.name);
            return Err(RunError::device(self.executable.device().name(), message));
        };
        let event = inner.queue.launch(&mut **bound, steps)?;
        for file in &self.files {
            file.check()?;
        }
        state.holder = Some(self.number);
        *self.last() = Last { event, ran: true };
        Ok(())
    }

    /// Binds the program to the arena as it is now.
    fn bind(&self, inner: &mut Inner, state: &mut State) -> Result<(), RunError> {
        let mut blocks = Vec::with_capacity(1 + self.params.len());
        blocks.push(state.memory(self.store(), inner)?);
        blocks.extend(self.params.iter().map(Arc::clone));
        let bound = inner.queue.bind(self.executable.program(), &blocks)?;
        state.bind(self.number, bound);
        Ok(())
    }

    fn download(
        &self,
        inner: &mut Inner,
        state: &mut State,
        place: Place,
        into: &mut [u8],
    ) -> Result<(), RunError> {
        match place.block {
            Block::Arena => {
                let memory = state.memory(self.store(), inner)?;
                inner.queue.download(&*memory, place.offset, into)
            }
            Block::Param(param) => inner.queue.download(&*self.params[param], place.offset, into),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Bound programs hold memory of a queue, which is not to be let go of while another thread uses the queue.
        let _inner = self.store().lock();
        self.arena.leave(self.number);
    }
}

/// Checks the tensors of a plan that a store has already; returns the files they are mapped from.
fn check_held(plan: &VerifiedPlan, inner: &Inner) -> Result<Vec<Arc<MappedFile>>, RunError> {
    let mut files: Vec<Arc<MappedFile>> = Vec::new();
    for (index, param) in plan.func.params().iter().enumerate().filter(|(_, p)| p.role != Role::Input) {
        let Some(at) = inner.find(&param.name, plan.func.ty(param.value))? else { continue };
        let home = &inner.at(at).info.home;
        if let (Some(step), false) = (plan.writer(index), matches!(home, Home::Owned)) {
            let inst = plan.func.inst(step.inst);
            return Err(RunError::ReadOnly {
                tensor: param.name.clone(),
                home: home.name(),
                step: Some(Box::new((inst.op.mnemonic().to_owned(), inst.scope.to_string()))),
            });
        }
        if let Home::Mapped(file) = home
            && !files.iter().any(|known| Arc::ptr_eq(known, file))
        {
            file.check()?;
            files.push(Arc::clone(file));
        }
    }
    Ok(files)
}

/// Checks element type and number of elements.
fn typed<T: Element>(kind: &'static str, name: &str, ty: &TensorType, given: usize) -> Result<(), RunError> {
    if ty.dtype != T::DTYPE {
        let (name, ty) = (name.to_owned(), ty.clone());
        return Err(RunError::WrongType { kind, name, ty, asked: T::DTYPE });
    }
    if ty.elements() != given {
        return Err(RunError::Length { kind, name: name.to_owned(), ty: ty.clone(), given });
    }
    Ok(())
}

/// How to tell whether all elements are finite; `None` of types that have nothing else, or that no step makes.
fn finite_of(ty: &TensorType) -> Option<fn(&[u8]) -> bool> {
    match ty.dtype {
        DType::F32 => Some(|bytes| all(bytes, f32::is_finite)),
        DType::Bf16 => Some(|bytes| all(bytes, half::bf16::is_finite)),
        DType::F16 => Some(|bytes| all(bytes, half::f16::is_finite)),
        DType::I32 | DType::U8 | DType::Q8_0 | DType::Q4_0 | DType::Q4_1 | DType::Q4K | DType::Q6K => None,
    }
}

fn all<T: Element>(bytes: &[u8], holds: fn(T) -> bool) -> bool {
    bytes.chunks_exact(size_of::<T>()).all(|element| holds(bytemuck::pod_read_unaligned(element)))
}
