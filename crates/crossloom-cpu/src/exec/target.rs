//! The CPU as a target of the compiler.

use crossloom_compiler::{Kernel, Target};
use crossloom_ir::{Op, TensorType};

use super::memory::ALIGN;
use super::ops::lower;

/// The CPU's kernels.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuTarget;

impl Target for CpuTarget {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn alignment(&self) -> usize {
        ALIGN
    }

    fn kernel(&self, op: &Op, inputs: &[&TensorType], outputs: &[&TensorType]) -> Option<Kernel> {
        lower(op, inputs, outputs).map(|lowered| lowered.told())
    }
}
