//! What the compiler asks of a target: its alignment, and which kernels it has.

use crossloom_ir::{Op, TensorType};

/// A kernel that a target chose for an instruction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kernel {
    /// Its name, as shown in plans and profiles.
    pub name: String,
    /// Working memory it needs while it runs, in bytes.
    pub scratch: usize,
    /// Pairs (input, output) it can compute in the same memory; of these, only those the op allows are used.
    pub in_place: Vec<(usize, usize)>,
    /// Results it can leave out. One that nobody reads then gets no memory, and the kernel sees no room for it.
    pub optional: Vec<usize>,
}

/// A target of the compiler. Ops it has no kernel for are expanded until it has one.
pub trait Target: Sync {
    /// Its name, as in `--backend`.
    fn name(&self) -> &'static str;

    /// What the offset of everything that a kernel writes is a multiple of, in bytes: a power of two.
    fn alignment(&self) -> usize;

    /// The kernel for an op on operands and results of those types, if there is one.
    fn kernel(&self, op: &Op, inputs: &[&TensorType], outputs: &[&TensorType]) -> Option<Kernel>;
}

/// Plans and costs, runs nothing: has a kernel for every op.
#[derive(Clone, Copy, Debug, Default)]
pub struct NullTarget;

impl Target for NullTarget {
    fn name(&self) -> &'static str {
        "null"
    }

    fn alignment(&self) -> usize {
        64
    }

    fn kernel(&self, op: &Op, _: &[&TensorType], _: &[&TensorType]) -> Option<Kernel> {
        Some(Kernel { name: op.mnemonic().to_owned(), in_place: op.in_place(), ..Kernel::default() })
    }
}
