//! `attn_pool` and `attn_pool_grad` to the kernels of the same names.

use crossloom_ir::op::{AttnPool as Op, AttnPoolGrad as OpGrad};
use crossloom_ir::{DType, TensorType};

use crate::exec::io::{CpuKernel, Io, Lowered};
use crate::kernels::{AttnPool, KernelError, attn_pool, attn_pool_grad};

struct Pool {
    shape: AttnPool,
    masked: bool,
}

struct PoolGrad(AttnPool);

fn shape(x: &TensorType, w: &TensorType, scale: f64) -> AttnPool {
    AttnPool {
        groups: x.shape[0],
        rows: x.shape[1],
        cols: x.shape[2],
        heads: w.shape[0],
        scale: scale as f32,
    }
}

/// Whether an operand or result is narrower than `f32`.
fn is_narrow(inputs: &[&TensorType], outputs: &[&TensorType]) -> bool {
    inputs.iter().chain(outputs).any(|ty| ty.dtype == DType::Bf16)
}

/// The kernel of the forward pass.
pub(super) fn lower(op: Op, inputs: &[&TensorType], outputs: &[&TensorType]) -> Lowered {
    let shape = shape(inputs[0], inputs[1], op.scale);
    let scratch = shape.scratch_len(is_narrow(inputs, outputs));
    // The mask and the probabilities are `f32`.
    Lowered::with_scratch("attn_pool", scratch, Pool { shape, masked: op.masked }).floats(&[0, 1], &[0])
}

/// The kernel of the gradient.
pub(super) fn lower_grad(op: OpGrad, inputs: &[&TensorType], outputs: &[&TensorType]) -> Lowered {
    let shape = shape(inputs[1], inputs[2], op.scale);
    let scratch = shape.grad_scratch_len(is_narrow(inputs, outputs));
    let lowered = Lowered::with_scratch("attn_pool_grad", scratch, PoolGrad(shape));
    lowered.floats(&[0, 1, 2], &[0, 1]).optional(vec![0, 1])
}

impl CpuKernel for Pool {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [pooled, probs], scratch) = io.take()?;
        let mask = inputs.f32_if(self.masked, 2)?;
        let (x, w) = (inputs.floats(0)?, inputs.floats(1)?);
        attn_pool(&self.shape, x, w, mask, pooled.floats()?, probs.of()?, scratch)
    }
}

impl CpuKernel for PoolGrad {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [dx, dw], scratch) = io.take()?;
        let (d_pooled, x, w) = (inputs.floats(0)?, inputs.floats(1)?, inputs.floats(2)?);
        let (dx, dw) = (dx.floats()?, dw.floats()?);
        attn_pool_grad(&self.0, d_pooled, x, w, inputs.f32(3)?, dx, dw, scratch)
    }
}
