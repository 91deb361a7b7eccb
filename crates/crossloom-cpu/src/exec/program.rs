//! A plan with its kernels, and the same bound to memory.

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

use crossloom_compiler::plan::{self, Block};
use crossloom_ir::{IrError, Value};
use crossloom_runtime::{DeviceBound, DeviceMemory, DeviceProgram, RunError, VerifiedPlan};

use super::device::{NAME, failed};
use super::io::{CpuKernel, Io, Lowered, RawSlice};
use super::memory::{ALIGN, CpuMemory};
use super::ops::{Tables, lower};
use crate::kernels::KernelError;

/// One kernel call.
struct Step {
    kernel: Box<dyn CpuKernel>,
    inputs: Range<usize>,
    outputs: Range<usize>,
    in_place: Vec<(usize, usize)>,
}

/// A verified plan with its kernels.
pub(super) struct CpuProgram {
    plan: VerifiedPlan,
    steps: Vec<Step>,
    /// Operands and results of all steps.
    values: Vec<Value>,
}

/// Where everything lies that a program touches.
pub(super) struct Slices {
    values: Vec<RawSlice>,
    scratch: RawSlice,
}

/// A program bound to memory of a queue. Running it allocates nothing.
pub(super) struct CpuBound {
    pub(super) queue: u64,
    pub(super) program: Arc<CpuProgram>,
    pub(super) slices: Slices,
    /// Keeps what `slices` point to.
    pub(super) _blocks: Vec<Arc<dyn DeviceMemory>>,
}

// SAFETY: its pointers lead into memory that `_blocks` keeps, and are followed in `run` only, whose caller has exclusive
// access to the queue that this memory belongs to.
unsafe impl Send for CpuBound {}

impl CpuProgram {
    /// Finds the kernels of a plan.
    pub(super) fn new(plan: &VerifiedPlan) -> Result<Self, RunError> {
        if plan.alignment < ALIGN {
            let message = format!("is aligned to {} bytes, the CPU to {ALIGN}", plan.alignment);
            return Err(RunError::Plan(IrError::new(message).into()));
        }
        let (mut steps, mut values) = (Vec::with_capacity(plan.steps.len()), Vec::new());
        let mut tables = Tables::default();
        for step in &plan.steps {
            let inst = plan.func.inst(step.inst);
            let failed = |error: KernelError| RunError::refused(inst, &step.kernel, error.to_string());
            let kernel =
                plan.kernel_of(step, NAME, lower, Lowered::told)?.bind(&mut tables).map_err(failed)?;
            let start = values.len();
            values.extend(&inst.inputs);
            let middle = values.len();
            values.extend(&inst.outputs);
            let (inputs, outputs) = (start..middle, middle..values.len());
            steps.push(Step { kernel, inputs, outputs, in_place: step.in_place.clone() });
        }
        Ok(Self { plan: plan.clone(), steps, values })
    }

    /// Where its values lie in blocks of memory: the arena, then the parameters.
    ///
    /// # Errors
    /// These are not the blocks of the plan, two of them share bytes, or a step would write one that is read-only.
    pub(super) fn slices(&self, blocks: &[&CpuMemory]) -> Result<Slices, RunError> {
        let (plan, params) = (&self.plan, self.plan.func.params());
        let arena_bytes = plan.arena_bytes().ok_or_else(|| failed("an arena larger than memory"))?;
        if blocks.len() != 1 + params.len() {
            return Err(failed(format!("{} blocks of memory for {} parameters", blocks.len(), params.len())));
        }
        let needs = params.iter().map(|param| plan.func.ty(param.value).bytes());
        for (index, (block, need)) in blocks.iter().zip(std::iter::once(arena_bytes).chain(needs)).enumerate()
        {
            let fits = if index == 0 { block.len() >= need } else { block.len() == need };
            if !fits {
                return Err(failed(format!("block {index} has {} bytes, {need} are needed", block.len())));
            }
            let written = index == 0 || plan.writer(index - 1).is_some();
            if written && block.is_read_only() {
                return Err(failed(format!("block {index} is read-only, and a step writes it")));
            }
        }
        // One piece of memory under two names would be borrowed twice. Read-only memory may be.
        let mut taken: Vec<(usize, usize)> = (blocks.iter())
            .filter(|block| !block.is_read_only() && !block.is_empty())
            .map(|block| (block.start().addr(), block.len()))
            .collect();
        taken.sort_unstable();
        if taken.windows(2).any(|pair| pair[0].0 + pair[0].1 > pair[1].0) {
            return Err(failed("two blocks are the same memory"));
        }
        let slice = |value: Value| {
            let (place, dtype) = (plan.place(value), plan.func.ty(value).dtype);
            let block = match place.block {
                Block::Arena => blocks[0],
                Block::Param(param) => blocks[1 + param],
            };
            // A value without memory has no address either.
            let offset = if place.len == 0 { 0 } else { place.offset };
            // SAFETY: the verified plan keeps the range within its block, whose length was just checked.
            let start = unsafe { block.start().add(offset) };
            if !start.addr().is_multiple_of(plan::element_alignment(dtype)) {
                return Err(failed(format!("{value} does not start at a whole element")));
            }
            Ok(RawSlice { start, bytes: place.len, dtype })
        };
        let values = self.values.iter().map(|&value| slice(value)).collect::<Result<_, _>>()?;
        // SAFETY: scratch lies within the arena's block, whose length was just checked.
        let start = unsafe { blocks[0].start().add(plan.scratch_offset()) };
        Ok(Slices {
            values,
            scratch: RawSlice { start, bytes: plan.scratch, dtype: crossloom_ir::DType::F32 },
        })
    }
}

impl CpuBound {
    /// Runs steps in order.
    ///
    /// # Safety
    /// The caller has exclusive access to the queue whose memory this is bound to.
    pub(super) unsafe fn run(&mut self, steps: Range<usize>) -> Result<(), RunError> {
        let program = &*self.program;
        let Some(chosen) = program.steps.get(steps.clone()) else {
            return Err(failed(format!("steps {steps:?} of {}", program.steps.len())));
        };
        for (index, step) in steps.zip(chosen) {
            let io = Io::new(
                &self.slices.values[step.inputs.clone()],
                &self.slices.values[step.outputs.clone()],
                self.slices.scratch,
                &step.in_place,
            );
            if let Err(error) = step.kernel.run(io) {
                let step = &program.plan.steps[index];
                let inst = program.plan.func.inst(step.inst);
                return Err(RunError::refused(inst, &step.kernel, error.to_string()));
            }
        }
        Ok(())
    }
}

impl DeviceProgram for CpuProgram {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl DeviceBound for CpuBound {
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
