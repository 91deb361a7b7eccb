//! CUDA as a target of the compiler.

use crossloom_compiler::{Kernel, Target};
use crossloom_ir::{Op, TensorType};

use crate::lower::lower;

/// What the start of every tensor is a multiple of: a line of the second-level cache, twice.
pub(crate) const ALIGN: usize = 256;

/// The kernels for GPUs of compute capability 8.0 and above.
#[derive(Clone, Copy, Debug, Default)]
pub struct CudaTarget;

impl Target for CudaTarget {
    fn name(&self) -> &'static str {
        "cuda"
    }

    fn alignment(&self) -> usize {
        ALIGN
    }

    fn kernel(&self, op: &Op, inputs: &[&TensorType], outputs: &[&TensorType]) -> Option<Kernel> {
        lower(op, inputs, outputs).map(|lowered| lowered.told())
    }
}
