//! What an instruction costs, counted, not measured.

use std::ops::AddAssign;

use crate::TensorType;

/// Floating-point operations and memory traffic of one instruction or many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations; a multiply-add counts two, a transcendental function one.
    pub flops: u64,
    /// Bytes read and written if every operand is read once and every result written once.
    pub bytes: u64,
}

impl Cost {
    /// `flops` operations, and the traffic of reading all inputs and writing all outputs once.
    pub fn new(flops: u64, inputs: &[&TensorType], outputs: &[&TensorType]) -> Self {
        let bytes = inputs.iter().chain(outputs).map(|ty| ty.bytes() as u64).sum();
        Self { flops, bytes }
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.flops += other.flops;
        self.bytes += other.bytes;
    }
}
