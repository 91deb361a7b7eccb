//! `attn_pool` and `attn_pool_grad` to the kernels of the same names.

use crossloom_ir::TensorType;
use crossloom_ir::op::{AttnPool as Op, AttnPoolGrad as OpGrad};

use crate::exec::io::{CpuKernel, Io, KernelError, Lowered};
use crate::kernels::{AttnPool, attn_pool, attn_pool_grad};

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

/// The kernel of the forward pass.
pub(super) fn lower(op: Op, inputs: &[&TensorType]) -> Lowered {
    let shape = shape(inputs[0], inputs[1], op.scale);
    Lowered::with_scratch("attn_pool", shape.scratch_len(), Pool { shape, masked: op.masked })
}

/// The kernel of the gradient.
pub(super) fn lower_grad(op: OpGrad, inputs: &[&TensorType]) -> Lowered {
    let shape = shape(inputs[1], inputs[2], op.scale);
    Lowered::with_scratch("attn_pool_grad", shape.grad_scratch_len(), PoolGrad(shape))
}

impl CpuKernel for Pool {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [pooled, probs], scratch) = io.split()?;
        let mask = inputs.f32_if(self.masked, 2)?;
        Ok(attn_pool(&self.shape, inputs.f32(0)?, inputs.f32(1)?, mask, pooled, probs, scratch)?)
    }
}

impl CpuKernel for PoolGrad {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [dx, dw], scratch) = io.split()?;
        let (dpooled, x, w, probs) = (inputs.f32(0)?, inputs.f32(1)?, inputs.f32(2)?, inputs.f32(3)?);
        Ok(attn_pool_grad(&self.0, dpooled, x, w, probs, dx, dw, scratch)?)
    }
}
