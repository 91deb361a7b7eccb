//! `deformable_attention` and `deformable_attention_grad` to the kernels of the same names.

use crossloom_ir::op::DeformableAttention as Op;
use crossloom_ir::{DType, TensorType};

use crate::exec::io::{CpuKernel, Io, Lowered};
use crate::kernels::{DeformableAttention, KernelError, deformable_attention, deformable_attention_grad};

struct Read(DeformableAttention);
struct ReadGrad(DeformableAttention);

fn shape(op: &Op, values: &TensorType, locations: &TensorType) -> DeformableAttention {
    DeformableAttention {
        batch: values.shape[0],
        queries: locations.shape[1],
        heads: op.heads,
        head_dim: values.shape[2] / op.heads,
        points: locations.shape[4],
        sides: op.sides.clone(),
    }
}

/// The kernel of the forward pass.
pub(super) fn lower(op: &Op, inputs: &[&TensorType], outputs: &[&TensorType]) -> Lowered {
    let shape = shape(op, inputs[0], inputs[1]);
    let scratch = shape.scratch_len(outputs[0].dtype == DType::Bf16);
    Lowered::with_scratch("deformable_attention", scratch, Read(shape)).floats(&[0, 1, 2], &[0])
}

/// The kernel of the gradient.
pub(super) fn lower_grad(op: &Op, inputs: &[&TensorType], outputs: &[&TensorType]) -> Lowered {
    let shape = shape(op, inputs[1], inputs[2]);
    let scratch = shape.grad_scratch_len(outputs[0].dtype == DType::Bf16);
    let lowered = Lowered::with_scratch("deformable_attention_grad", scratch, ReadGrad(shape));
    lowered.floats(&[0, 1, 2, 3], &[0, 1, 2]).optional(vec![0, 1, 2])
}

impl CpuKernel for Read {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [out], scratch) = io.take()?;
        let (values, locations, weights) = (inputs.floats(0)?, inputs.floats(1)?, inputs.floats(2)?);
        deformable_attention(&self.0, values, locations, weights, out.floats()?, scratch)
    }
}

impl CpuKernel for ReadGrad {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [d_values, d_locations, d_weights], scratch) = io.take()?;
        let operands = [inputs.floats(1)?, inputs.floats(2)?, inputs.floats(3)?];
        let grads = [d_values.floats()?, d_locations.floats()?, d_weights.floats()?];
        deformable_attention_grad(&self.0, inputs.floats(0)?, operands, grads, scratch)
    }
}
