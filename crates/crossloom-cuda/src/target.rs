//! CUDA as a target of the compiler.

use crossloom_compiler::{Kernel, Target};
use crossloom_ir::{Op, TensorType};

use crate::launch::Lowered;
use crate::lower::{Rules, lower_by};
use crate::product::Products;

/// What the start of every tensor is a multiple of: a line of the second-level cache, twice.
pub(crate) const ALIGN: usize = 256;

/// The kernels for GPUs of compute capability 8.0 and above.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CudaTarget {
    /// What computes matrix products.
    pub products: Products,
}

impl CudaTarget {
    /// All kernels are those of this crate, whatever a machine has.
    pub const OWN: Self = Self { products: Products::Own };

    /// What an op on those types becomes.
    pub(crate) fn lower(self, op: &Op, inputs: &[&TensorType], outputs: &[&TensorType]) -> Option<Lowered> {
        lower_by(Rules { products: self.products, ..Rules::default() }, op, inputs, outputs)
    }
}

impl Target for CudaTarget {
    fn name(&self) -> &'static str {
        "cuda"
    }

    fn alignment(&self) -> usize {
        ALIGN
    }

    fn kernel(&self, op: &Op, inputs: &[&TensorType], outputs: &[&TensorType]) -> Option<Kernel> {
        self.lower(op, inputs, outputs).map(|lowered| lowered.told())
    }
}
