//! A plan with its kernels, and the same bound to memory.

use std::any::Any;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use crossloom_compiler::plan::{self, Block};
use crossloom_ir::{IrError, Op, TensorType, Value};
use crossloom_runtime::{DeviceBound, DeviceMemory, DeviceProgram, RunError, VerifiedPlan};

use super::memory::CudaMemory;
use super::{Driver, Graph, Module, NAME, failed};
use crate::launch::{Argument, Launch, Lowered, Work};
use crate::product::{Operands, Product};
use crate::target::{ALIGN, CudaTarget};

/// A verified plan with its kernels.
pub(super) struct CudaProgram {
    pub(super) plan: VerifiedPlan,
    /// What every step is.
    steps: Vec<Lowered>,
    pub(super) module: Arc<dyn Module>,
    /// The products of the library, each once.
    products: HashMap<Product, Arc<dyn Module>>,
}

/// A launch or a product whose addresses are known.
pub(super) enum Bound {
    Launch { kernel: String, geometry: crate::Geometry, addresses: Vec<u64> },
    Product { product: Arc<dyn Module>, at: Operands<u64> },
}

/// All steps at once: the first time they are started one by one, the second time they are captured, from then on replayed.
pub(super) enum Whole {
    Never,
    Once,
    Captured(Arc<dyn Graph>),
}

/// Launches on memory, and which of them are each step's.
pub(super) struct Placed {
    pub(super) launches: Vec<Bound>,
    pub(super) steps: Vec<Range<usize>>,
    /// What has to be in the memory of the tables.
    pub(super) tables: Vec<u8>,
}

/// A program bound to memory of a queue.
pub(super) struct CudaBound {
    pub(super) queue: u64,
    pub(super) program: Arc<CudaProgram>,
    /// The launches of all steps, and which of them are each step's.
    pub(super) launches: Vec<Bound>,
    pub(super) steps: Vec<Range<usize>>,
    /// How often all steps were started at once, and what was captured of that.
    pub(super) whole: Whole,
    /// A word that stays empty, then one per step, into which its kernels report.
    pub(super) words: CudaMemory,
    /// The tables of all launches, one behind the other.
    pub(super) _tables: CudaMemory,
    /// Keeps what addresses point to.
    pub(super) _blocks: Vec<Arc<dyn DeviceMemory>>,
}

impl CudaProgram {
    /// Finds and builds the kernels of a plan.
    pub(super) fn new(
        plan: &VerifiedPlan,
        target: CudaTarget,
        driver: &dyn Driver,
    ) -> Result<Self, RunError> {
        if plan.alignment < ALIGN {
            let message = format!("is aligned to {} bytes, CUDA to {ALIGN}", plan.alignment);
            return Err(RunError::Plan(IrError::new(message).into()));
        }
        check_memory(plan, driver)?;
        let lower =
            |op: &Op, inputs: &[&TensorType], outputs: &[&TensorType]| target.lower(op, inputs, outputs);
        let lowered = plan.steps.iter().map(|step| {
            let lowered = plan.kernel_of(step, NAME, lower, Lowered::told)?;
            Ok(if lowered.products().next().is_some() && writes_state(plan, step) {
                own(plan, step)?
            } else {
                lowered
            })
        });
        let steps: Vec<Lowered> = lowered.collect::<Result<_, RunError>>()?;
        let launches = steps.iter().flat_map(Lowered::launches);
        let distinct: BTreeMap<&str, &Launch> =
            launches.map(|launch| (launch.kernel.as_str(), launch)).collect();
        let module = driver.load(&distinct.into_values().collect::<Vec<_>>()).map_err(failed)?;
        let mut products = HashMap::new();
        let multiplied = plan.steps.iter().zip(&steps);
        let multiplied =
            multiplied.flat_map(|(step, own)| own.products().map(move |product| (step, product)));
        for (step, multiply) in multiplied {
            if let Entry::Vacant(place) = products.entry(multiply.product) {
                let refused = |message| RunError::refused(plan.func.inst(step.inst), &step.kernel, message);
                place.insert(driver.product(&multiply.product).map_err(refused)?);
            }
        }
        Ok(Self { plan: plan.clone(), steps, module, products })
    }

    /// Bytes of the tables of all launches.
    pub(super) fn table_bytes(&self) -> usize {
        self.steps.iter().flat_map(Lowered::launches).map(|launch| launch.table.len() * 8).sum()
    }

    /// The launches on blocks of memory: the arena, then the parameters. `words` is where steps report, `tables` where the tables
    /// of launches are to be.
    ///
    /// # Errors
    /// These are not the blocks of the plan, two of them share bytes, or a step would write one that is read-only.
    pub(super) fn launches(
        &self,
        blocks: &[&CudaMemory],
        words: &CudaMemory,
        tables: &CudaMemory,
    ) -> Result<Placed, RunError> {
        self.check(blocks)?;
        let plan = &self.plan;
        let address = |value: Value| {
            let place = plan.place(value);
            let block = match place.block {
                Block::Arena => blocks[0],
                Block::Param(param) => blocks[1 + param],
            };
            // A value without memory has no address either.
            let offset = if place.len == 0 { 0 } else { place.offset };
            let start = block.range(offset, place.len)?;
            let aligned = start.is_multiple_of(plan::element_alignment(plan.func.ty(value).dtype) as u64);
            aligned
                .then_some(start)
                .ok_or_else(|| failed(format!("{value} does not start at a whole element")))
        };
        let (mut launches, mut steps) = (Vec::new(), Vec::with_capacity(plan.steps.len()));
        let mut content: Vec<u8> = Vec::with_capacity(tables.len());
        // The word of the last step that can refuse its operands, which tells of those before it too; the first word is nobody's.
        let mut last = 0;
        for (index, (step, own)) in plan.steps.iter().zip(&self.steps).enumerate() {
            let inst = plan.func.inst(step.inst);
            let first = launches.len();
            let resolve = |argument: Argument, table: (usize, usize)| match argument {
                Argument::Input(i) => address(inst.inputs[i]),
                Argument::Output(o) => address(inst.outputs[o]),
                Argument::InputFrom(i, offset) => Ok(address(inst.inputs[i])? + offset as u64),
                Argument::OutputFrom(o, offset) => Ok(address(inst.outputs[o])? + offset as u64),
                Argument::Scratch(offset) => blocks[0].range(plan.scratch_offset() + offset, 0),
                Argument::Table => tables.range(table.0, table.1),
                Argument::Stop => words.range(last * 8, 8),
                Argument::Fault => words.range((index + 1) * 8, 8),
            };
            for work in &own.work {
                let launch = match work {
                    Work::Launch(launch) => launch,
                    Work::Product(multiply) => {
                        let product = self.products.get(&multiply.product).map(Arc::clone);
                        let product = product.ok_or_else(|| failed("a product that was not made ready"))?;
                        let at = multiply.operands.try_map(|&argument| resolve(argument, (0, 0)))?;
                        launches.push(Bound::Product { product, at });
                        continue;
                    }
                };
                let table = (content.len(), launch.table.len() * 8);
                let resolved = |&argument: &Argument| resolve(argument, table);
                for argument in &launch.table {
                    content.extend(resolved(argument)?.to_ne_bytes());
                }
                let addresses = launch.arguments.iter().map(resolved).collect::<Result<_, _>>()?;
                let (kernel, geometry) = (launch.kernel.clone(), launch.geometry);
                launches.push(Bound::Launch { kernel, geometry, addresses });
            }
            if own.launches().any(|launch| launch.arguments.contains(&Argument::Fault)) {
                last = index + 1;
            }
            steps.push(first..launches.len());
        }
        Ok(Placed { launches, steps, tables: content })
    }

    fn check(&self, blocks: &[&CudaMemory]) -> Result<(), RunError> {
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
        // Pieces of memory never overlap; one under two names would be written while it is read.
        let mut taken: Vec<u64> =
            blocks.iter().filter(|block| !block.is_read_only()).map(|block| block.address()).collect();
        taken.sort_unstable();
        if taken.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(failed("two blocks are the same memory"));
        }
        Ok(())
    }

    /// A launch of a step that the driver did not take, or that failed.
    pub(super) fn broken(&self, step: usize, message: String) -> RunError {
        let step = &self.plan.steps[step];
        RunError::refused(self.plan.func.inst(step.inst), &step.kernel, message)
    }

    /// What a step reported.
    pub(super) fn refusal(&self, step: usize, word: u64) -> RunError {
        let step = &self.plan.steps[step];
        let inst = self.plan.func.inst(step.inst);
        let (position, value) = ((word >> 32) as u32, word as u32 as i32);
        let message =
            format!("the number {value} at position {position} of its operand is none that it takes");
        RunError::refused(inst, &step.kernel, message)
    }
}

/// Whether a step writes what lives on behind the plan. Kernels behind one that refuses its operands do nothing; a product of the library
/// does not know of it, and must not touch what is kept.
fn writes_state(plan: &VerifiedPlan, step: &plan::Step) -> bool {
    let outputs = &plan.func.inst(step.inst).outputs;
    outputs.iter().any(|&value| matches!(plan.place(value).block, Block::Param(_)))
}

/// The kernels of this crate for a step.
fn own(plan: &VerifiedPlan, step: &plan::Step) -> Result<Lowered, RunError> {
    let inst = plan.func.inst(step.inst);
    let types = |values: &[Value]| values.iter().map(|&v| plan.func.ty(v)).collect::<Vec<&TensorType>>();
    let lowered = CudaTarget::OWN.lower(&inst.op, &types(&inst.inputs), &types(&inst.outputs));
    let fits = |own: &Lowered| {
        own.scratch <= plan.scratch && step.in_place.iter().all(|pair| own.in_place.contains(pair))
    };
    lowered.filter(fits).ok_or_else(|| {
        let message = "it writes what is kept, and there is no kernel that knows when not to";
        RunError::refused(inst, &step.kernel, message.to_owned())
    })
}

/// How many of a plan's tensors are named where it does not fit.
const NAMED: usize = 5;

/// Refuses a plan that needs more memory than the device has, whatever else lies there, and names its largest tensors.
fn check_memory(plan: &VerifiedPlan, driver: &dyn Driver) -> Result<(), RunError> {
    let (Some(total), Some(arena)) = (driver.total_memory(), plan.arena_bytes()) else { return Ok(()) };
    let func = &plan.func;
    let bytes = |value: Value| func.ty(value).bytes() as u64;
    let params: u64 = func.params().iter().map(|param| bytes(param.value)).sum();
    let needed = params.saturating_add(arena as u64);
    if needed <= total {
        return Ok(());
    }
    let mut tensors: Vec<(u64, String)> =
        func.params().iter().map(|param| (bytes(param.value), format!("`{}`", param.name))).collect();
    for inst in plan.steps.iter().map(|step| func.inst(step.inst)) {
        tensors.extend(inst.outputs.iter().map(|&value| {
            let told = format!("{} of `{}` in `{}`", func.ty(value), inst.op.mnemonic(), inst.scope);
            (bytes(value), told)
        }));
    }
    tensors.sort_by_key(|&(bytes, _)| std::cmp::Reverse(bytes));
    let largest = tensors.iter().take(NAMED).map(|(bytes, told)| format!("{told} ({bytes} bytes)"));
    let largest = largest.collect::<Vec<_>>().join(", ");
    let message = format!(
        "@{} needs {needed} bytes, {params} for its parameters and {arena} for what it computes; the device has {total}. Its largest \
         tensors are {largest}. A smaller batch, or checkpointed blocks, need less",
        func.name
    );
    Err(failed(message))
}

impl DeviceProgram for CudaProgram {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl DeviceBound for CudaBound {
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
