//! A plan, ready to run.

use std::marker::PhantomData;
use std::time::{Duration, Instant};

use crossloom_compiler::Plan;
use crossloom_compiler::plan::{self, Block, Place};
use crossloom_ir::verify::verify;
use crossloom_ir::{DType, IrError, Role, TensorType, Value};

use super::io::{CpuKernel, Io, KernelError, Lowered, RawSlice};
use super::memory::{as_ints, as_ints_mut};
use super::ops::{Tables, lower};
use super::store::Identity;
use super::{Buffer, RunError, Store};

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
#[derive(Clone, Debug)]
pub struct StepTime {
    /// The kernel.
    pub kernel: &'static str,
    /// Index of the step in the plan.
    pub step: usize,
    /// Wall time.
    pub time: Duration,
}

/// Where a parameter's memory is.
#[derive(Clone, Copy, Debug)]
enum Home {
    /// In the store.
    Store(usize),
    /// Here: an input.
    Input(usize),
}

/// Where an operand or result is.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Index in `bases`: the arena, then the parameters.
    block: usize,
    offset: usize,
    len: usize,
}

struct Step {
    name: &'static str,
    kernel: Box<dyn CpuKernel>,
    inputs: std::ops::Range<usize>,
    outputs: std::ops::Range<usize>,
    in_place: Vec<(usize, usize)>,
}

/// A plan bound to its memory. Running it allocates nothing.
pub struct Executable {
    plan: Plan,
    steps: Vec<Step>,
    slots: Vec<Slot>,
    homes: Vec<Home>,
    /// The store that `homes` point into.
    store: Identity,
    inputs: Vec<Buffer>,
    arena: Buffer,
    scratch: Buffer,
    /// Start and length of every block, filled anew at each run.
    bases: Vec<RawSlice>,
    /// Operands and results of all steps, filled anew at each run.
    slices: Vec<RawSlice>,
}

impl std::fmt::Debug for Executable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Executable(@{}, {} steps)", self.plan.func.name, self.steps.len())
    }
}

// SAFETY: the raw pointers in `bases` and `slices` are only meaningful during `run_steps`, which holds `&mut self` and
// `&mut Store`, the owners of everything they point to; between runs they are never read.
unsafe impl Send for Executable {}

impl Executable {
    /// Binds a plan to a store; tensors the store does not have yet are added, filled with zeros.
    ///
    /// # Errors
    /// - [`RunError::Plan`]: the function is not well-formed (two parameters of one name, say), the plan does not pass
    ///   [`plan::check`], it wants more memory than there can be, or it lets a kernel work in place that cannot.
    /// - [`RunError::NoKernel`]: the plan was made for another backend.
    /// - [`RunError::Store`]: the store has a tensor of another type under a parameter's name.
    pub fn new(plan: Plan, store: &mut Store) -> Result<Self, RunError> {
        // Everything unsafe here rests on these two.
        verify(&plan.func)?;
        plan::check(&plan)?;
        if plan.arena.max(plan.scratch) > Buffer::MAX_LEN {
            let message = format!("needs an arena of {} and {} words of scratch", plan.arena, plan.scratch);
            return Err(RunError::Plan(IrError::new(message).into()));
        }
        let (mut steps, mut slots) = (Vec::with_capacity(plan.steps.len()), Vec::new());
        let mut tables = Tables::default();
        for step in &plan.steps {
            let inst = plan.func.inst(step.inst);
            let lowered = kernel_of(&plan, step)?;
            let name = lowered.name;
            let failed = |KernelError(message)| RunError::refused(inst, message);
            let kernel = lowered.bind(&mut tables).map_err(failed)?;
            let start = slots.len();
            slots.extend(inst.inputs.iter().map(|&v| slot(plan.place(v))));
            let middle = slots.len();
            slots.extend(inst.outputs.iter().map(|&v| slot(plan.place(v))));
            let (inputs, outputs) = (start..middle, middle..slots.len());
            steps.push(Step { name, kernel, inputs, outputs, in_place: step.in_place.clone() });
        }
        // Nothing fails from here on but for the store, so that a refused plan leaves no tensors behind.
        let (mut homes, mut inputs) = (Vec::new(), Vec::new());
        for param in plan.func.params() {
            let ty = plan.func.ty(param.value);
            homes.push(if param.role == Role::Input {
                inputs.push(Buffer::new(ty.elements()));
                Home::Input(inputs.len() - 1)
            } else {
                Home::Store(store.slot(&param.name, param.role, ty)?)
            });
        }
        let empty = RawSlice { start: std::ptr::null_mut(), len: 0 };
        Ok(Self {
            bases: vec![empty; 1 + homes.len()],
            slices: vec![empty; slots.len()],
            arena: Buffer::new(plan.arena),
            scratch: Buffer::new(plan.scratch),
            store: store.identity().clone(),
            plan,
            steps,
            slots,
            homes,
            inputs,
        })
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The memory of a float input, to be filled before a run.
    ///
    /// # Errors
    /// There is no float input of that name.
    pub fn input_mut(&mut self, name: &str) -> Result<&mut [f32], RunError> {
        self.input_words(name, DType::F32)
    }

    /// The memory of an integer input, to be filled before a run.
    ///
    /// # Errors
    /// There is no integer input of that name.
    pub fn int_input_mut(&mut self, name: &str) -> Result<&mut [i32], RunError> {
        self.input_words(name, DType::I32).map(as_ints_mut)
    }

    /// Whether there is an input of that name.
    pub fn has_input(&self, name: &str) -> bool {
        self.plan.func.param(name).is_some_and(|p| p.role == Role::Input)
    }

    fn input_words(&mut self, name: &str, dtype: DType) -> Result<&mut [f32], RunError> {
        let func = &self.plan.func;
        let found = func.params().iter().position(|p| p.name == name && func.ty(p.value).dtype == dtype);
        match found.map(|index| self.homes[index]) {
            Some(Home::Input(input)) => Ok(self.inputs[input].as_mut_slice()),
            _ => Err(RunError::Unknown { kind: "input", name: name.to_owned() }),
        }
    }

    /// A float result of the last run.
    ///
    /// # Errors
    /// There is no result of that name that lives in this executable: one that is a parameter's memory is read with
    /// [`Executable::result_in`].
    pub fn result(&self, name: &str) -> Result<&[f32], RunError> {
        self.words(None, name)
    }

    /// A float result of the last run, which may be a parameter in the store.
    ///
    /// # Errors
    /// There is no result of that name, or it is a parameter and this is not the store the executable was made for.
    pub fn result_in<'a>(&'a self, store: &'a Store, name: &str) -> Result<&'a [f32], RunError> {
        self.words(Some(store), name)
    }

    fn words<'a>(&'a self, store: Option<&'a Store>, name: &str) -> Result<&'a [f32], RunError> {
        let unknown = || RunError::Unknown { kind: "result", name: name.to_owned() };
        let place = self.plan.place(self.plan.func.result(name).ok_or_else(unknown)?);
        let words = match place.block {
            Block::Arena => self.arena.as_slice(),
            Block::Param(param) => match self.homes[param] {
                Home::Input(input) => self.inputs[input].as_slice(),
                Home::Store(slot) => {
                    let store = store.ok_or_else(unknown)?;
                    self.check_store(store)?;
                    store.buffer(slot).as_slice()
                }
            },
        };
        Ok(&words[place.offset..place.offset + place.len])
    }

    /// The shape of a result.
    ///
    /// # Errors
    /// There is no result of that name.
    pub fn result_shape(&self, name: &str) -> Result<&[usize], RunError> {
        let unknown = || RunError::Unknown { kind: "result", name: name.to_owned() };
        self.plan.func.result(name).map(|value| self.plan.func.shape(value)).ok_or_else(unknown)
    }

    /// An integer result of the last run.
    ///
    /// # Errors
    /// As [`Executable::result`].
    pub fn int_result(&self, name: &str) -> Result<&[i32], RunError> {
        self.result(name).map(as_ints)
    }

    /// An integer result of the last run, which may be a parameter in the store.
    ///
    /// # Errors
    /// As [`Executable::result_in`].
    pub fn int_result_in<'a>(&'a self, store: &'a Store, name: &str) -> Result<&'a [i32], RunError> {
        self.result_in(store, name).map(as_ints)
    }

    /// Runs all steps.
    ///
    /// # Errors
    /// - [`RunError::OtherStore`]: this is not the store the executable was made for.
    /// - [`RunError::Step`]: an op refused its operands; the error names op and scope. What earlier steps updated stays
    ///   updated.
    pub fn run(&mut self, store: &mut Store) -> Result<(), RunError> {
        self.run_steps(store, |_, _| true)
    }

    /// Runs all steps and reports the time of each.
    ///
    /// # Errors
    /// As [`Executable::run`].
    pub fn run_profiled(&mut self, store: &mut Store) -> Result<Vec<StepTime>, RunError> {
        let mut times = Vec::with_capacity(self.steps.len());
        let names: Vec<&'static str> = self.steps.iter().map(|step| step.name).collect();
        let mut last = Instant::now();
        self.run_steps(store, |step, _| {
            let now = Instant::now();
            times.push(StepTime { kernel: names[step], step, time: now - last });
            last = now;
            true
        })?;
        Ok(times)
    }

    /// Runs step by step until a float result is not finite, and says which.
    ///
    /// # Errors
    /// As [`Executable::run`].
    pub fn find_non_finite(&mut self, store: &mut Store) -> Result<Option<NonFinite>, RunError> {
        let float: Vec<Vec<bool>> = (self.plan.steps.iter())
            .map(|s| {
                self.plan
                    .func
                    .inst(s.inst)
                    .outputs
                    .iter()
                    .map(|&v| self.plan.func.ty(v).dtype == DType::F32)
                    .collect()
            })
            .collect();
        let mut found = None;
        self.run_steps(store, |step, outputs| {
            for (o, slice) in outputs.iter().enumerate().filter(|(o, _)| float[step][*o]) {
                // SAFETY: the step that wrote this range has returned, so nothing else borrows it.
                let words = unsafe { std::slice::from_raw_parts(slice.start, slice.len) };
                if words.iter().any(|x| !x.is_finite()) {
                    found = Some((step, o));
                    return false;
                }
            }
            true
        })?;
        Ok(found.map(|(step, output)| {
            let inst = self.plan.func.inst(self.plan.steps[step].inst);
            let value: Value = inst.outputs[output];
            NonFinite {
                op: inst.op.mnemonic().to_owned(),
                scope: inst.scope.to_string(),
                value: value.to_string(),
            }
        }))
    }

    /// Runs the steps in order; `after` sees each step's results and says whether to go on.
    fn run_steps(
        &mut self,
        store: &mut Store,
        mut after: impl FnMut(usize, &[RawSlice]) -> bool,
    ) -> Result<(), RunError> {
        self.check_store(store)?;
        self.bind(store);
        let scratch = raw(&mut self.scratch);
        for (index, step) in self.steps.iter().enumerate() {
            let io = Io {
                inputs: &self.slices[step.inputs.clone()],
                outputs: &self.slices[step.outputs.clone()],
                scratch,
                in_place: &step.in_place,
                exclusive: PhantomData,
            };
            if let Err(KernelError(message)) = step.kernel.run(io) {
                return Err(RunError::refused(self.plan.func.inst(self.plan.steps[index].inst), message));
            }
            if !after(index, &self.slices[step.outputs.clone()]) {
                break;
            }
        }
        Ok(())
    }

    /// Slots mean something in the store they were found in, and there they have the parameters' lengths.
    fn check_store(&self, store: &Store) -> Result<(), RunError> {
        if self.store == *store.identity() {
            Ok(())
        } else {
            Err(RunError::OtherStore { function: self.plan.func.name.clone() })
        }
    }

    /// Points every operand and result at its memory.
    fn bind(&mut self, store: &mut Store) {
        self.bases[0] = raw(&mut self.arena);
        for (index, home) in self.homes.iter().enumerate() {
            let buffer = match *home {
                Home::Store(slot) => store.buffer_mut(slot),
                Home::Input(input) => &mut self.inputs[input],
            };
            self.bases[1 + index] = raw(buffer);
        }
        for (slice, slot) in self.slices.iter_mut().zip(&self.slots) {
            let base = self.bases[slot.block];
            assert!(
                slot.offset + slot.len <= base.len,
                "the plan verifier keeps every value inside its block"
            );
            // SAFETY: the range was just checked to lie inside the block.
            let start = unsafe { base.start.add(slot.offset) };
            *slice = RawSlice { start, len: slot.len };
        }
    }
}

fn raw(buffer: &mut Buffer) -> RawSlice {
    let words = buffer.as_mut_slice();
    RawSlice { start: words.as_mut_ptr(), len: words.len() }
}

/// The kernel a step names, if the backend has it, with as much scratch and only those pairs in place.
fn kernel_of(plan: &Plan, step: &plan::Step) -> Result<Lowered, RunError> {
    let inst = plan.func.inst(step.inst);
    let types = |values: &[Value]| values.iter().map(|&v| plan.func.ty(v)).collect::<Vec<&TensorType>>();
    let lowered = lower(&inst.op, &types(&inst.inputs), &types(&inst.outputs));
    let lowered = lowered.filter(|l| l.name == step.kernel && l.scratch <= plan.scratch);
    let lowered = lowered.ok_or_else(|| RunError::NoKernel {
        kernel: step.kernel.clone(),
        op: inst.op.mnemonic().to_owned(),
        scope: inst.scope.to_string(),
        backend: plan.backend.clone(),
    })?;
    match step.in_place.iter().find(|pair| !lowered.in_place.contains(pair)) {
        None => Ok(lowered),
        Some((i, o)) => {
            let message = format!("kernel `{}` cannot write result {o} over operand {i}", lowered.name);
            let error = IrError::new(message).with_op(inst.op.mnemonic()).with_scope(&inst.scope);
            Err(RunError::Plan(error.into()))
        }
    }
}

fn slot(place: Place) -> Slot {
    let block = match place.block {
        Block::Arena => 0,
        Block::Param(param) => 1 + param,
    };
    Slot { block, offset: place.offset, len: place.len }
}
