//! What the compiler asks of a backend: which kernels it has.

use crossloom_ir::{Op, TensorType};

/// A kernel that a backend chose for an instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Its name, as shown in plans and profiles.
    pub name: String,
    /// Working memory it needs while it runs, in 4-byte words.
    pub scratch: usize,
    /// Pairs (input, output) it can compute in the same memory; of these, only those the op allows are used.
    pub in_place: Vec<(usize, usize)>,
}

/// A target of the compiler. Ops it has no kernel for are expanded until it has one.
pub trait Backend: Sync {
    /// Its name, as in `--backend`.
    fn name(&self) -> &'static str;

    /// The kernel for an op on operands and results of those types, if there is one.
    fn kernel(&self, op: &Op, inputs: &[&TensorType], outputs: &[&TensorType]) -> Option<Kernel>;
}

/// Plans and costs, runs nothing: has a kernel for every op.
#[derive(Clone, Copy, Debug, Default)]
pub struct NullBackend;

impl Backend for NullBackend {
    fn name(&self) -> &'static str {
        "null"
    }

    fn kernel(&self, op: &Op, _: &[&TensorType], _: &[&TensorType]) -> Option<Kernel> {
        Some(Kernel { name: op.mnemonic().to_owned(), scratch: 0, in_place: op.in_place() })
    }
}
