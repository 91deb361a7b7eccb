//! Element-wise programs: a short list of steps run over blocks that stay in the first-level cache.
//!
//! [`Program`] is made once per compiled region: values get registers (1 KiB blocks on the stack) by their last use.
//! Registers are `f32`; operands and outputs may be `bf16`. Running it walks the region in blocks of 256 elements; every step is one vectorised loop over the block.

mod program;
mod run;
#[cfg(test)]
mod tests;

pub use program::{BinaryOp, Broadcast, Float, Program, Step, UnaryOp};

/// Elements of a block.
const BLOCK: usize = 256;
/// Blocks of intermediate values that live at once.
const REGISTERS: usize = 24;
/// Operands, and outputs, of a program at most.
const OPERANDS: usize = 64;
