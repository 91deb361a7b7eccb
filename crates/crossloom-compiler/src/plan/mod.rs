//! The memory plan: where every value lives and which kernel runs when.
//!
//! Weights, state and inputs have memory of their own, one block each. Everything else lives in one arena, at offsets
//! that two values share only if they are never alive at the same time. Views (reshapes, contiguous slices) take no
//! memory; an op that may work in place does so when its operand dies there.

mod alias;
mod arena;
mod build;
mod check;
mod print;

pub(crate) use alias::view_offset;
pub use build::plan;
pub use check::check;

use crossloom_ir::{DType, Func, Inst, Value};

/// What the address of an element of that type is a multiple of, in bytes.
pub fn element_alignment(dtype: DType) -> usize {
    // Blocks of quantized elements hold numbers of two bytes.
    if dtype.is_quantized() { 2 } else { dtype.bytes_of(1) }
}

/// A block of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Block {
    /// The memory of the parameter of that index.
    Param(usize),
    /// The arena.
    Arena,
}

/// Where a value lives: `len` bytes from `offset` in a block. A result that nobody reads and that its kernel leaves out
/// has no bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The block.
    pub block: Block,
    /// First byte.
    pub offset: usize,
    /// Number of bytes.
    pub len: usize,
}

/// One kernel call.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The instruction it computes.
    pub inst: Inst,
    /// The kernel.
    pub kernel: String,
    /// Pairs (input, output) that are the same memory.
    pub in_place: Vec<(usize, usize)>,
}

/// A function laid out in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The code.
    pub func: Func,
    /// Name of the target whose kernels were chosen.
    pub target: String,
    /// What the offset of everything that a step writes is a multiple of, in bytes.
    pub alignment: usize,
    /// Where every value lives, by value.
    pub places: Vec<Place>,
    /// Kernel calls in order; instructions that only rename memory have none.
    pub steps: Vec<Step>,
    /// Bytes of the arena.
    pub arena: usize,
    /// Working memory of the largest kernel, in bytes.
    pub scratch: usize,
    /// The most bytes that are alive at one time: no arena can be smaller.
    pub lower_bound: usize,
}

impl Plan {
    /// Where the kernels' working memory starts behind the arena.
    pub fn scratch_offset(&self) -> usize {
        self.arena.checked_next_multiple_of(self.alignment).unwrap_or(usize::MAX)
    }

    /// Bytes of arena and working memory; `None` if there are more than can be addressed.
    pub fn arena_bytes(&self) -> Option<usize> {
        self.scratch_offset().checked_add(self.scratch).filter(|&bytes| isize::try_from(bytes).is_ok())
    }

    /// Where a value lives.
    pub fn place(&self, value: Value) -> Place {
        self.places[value.index()]
    }

    /// The first step that writes the memory of the parameter of that index.
    pub fn writer(&self, param: usize) -> Option<&Step> {
        let writes = |step: &&Step| {
            let outputs = &self.func.inst(step.inst).outputs;
            outputs.iter().any(|&value| self.place(value).block == Block::Param(param))
        };
        self.steps.iter().find(writes)
    }
}
