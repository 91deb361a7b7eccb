//! Attention and its gradient.

use crossloom_ir::op::Attention as Op;
use crossloom_ir::{DType, TensorType};

use crate::exec::io::{CpuKernel, Io, Lowered};
use crate::kernels::{Attention, FloatMat, FloatMatMut, KernelError, attention, attention_grad};

/// The widest head the kernels take.
const MAX_HEAD_DIM: usize = 256;

struct Forward {
    shape: Attention,
    segments: bool,
}

struct Backward {
    shape: Attention,
    segments: bool,
}

fn shape(op: &Op, q: &TensorType, k: &TensorType) -> Attention {
    Attention {
        batch: q.shape[0],
        q_len: q.shape[1],
        k_len: k.shape[1],
        heads: op.heads,
        kv_heads: op.kv_heads,
        head_dim: q.shape[2] / op.heads,
        scale: op.scale as f32,
        causal: op.causal,
    }
}

pub(super) fn lower(op: &Op, inputs: &[&TensorType]) -> Option<Lowered> {
    let shape = shape(op, inputs[0], inputs[1]);
    let kernel = Forward { shape, segments: op.segments };
    (shape.head_dim <= MAX_HEAD_DIM).then(|| {
        let lowered = Lowered::with_scratch("attention", shape.scratch_len(), kernel);
        lowered.floats(&[0, 1, 2], &[0]).ints(&[3], &[])
    })
}

pub(super) fn lower_grad(op: &Op, inputs: &[&TensorType], outputs: &[&TensorType]) -> Option<Lowered> {
    let shape = shape(op, inputs[1], inputs[2]);
    let kernel = Backward { shape, segments: op.segments };
    (shape.head_dim <= MAX_HEAD_DIM).then(|| {
        let is_narrow = outputs[1..].iter().any(|ty| ty.dtype == DType::Bf16);
        let lowered = Lowered::with_scratch("attention_grad", shape.grad_scratch_len(is_narrow), kernel);
        lowered.floats(&[0, 1, 2, 3, 4], &[0, 1, 2]).ints(&[6], &[]).optional(vec![0, 1, 2])
    })
}

/// Rows and columns of queries, and of keys and values.
fn extents(shape: &Attention) -> [(usize, usize); 2] {
    [
        (shape.batch * shape.q_len, shape.heads * shape.head_dim),
        (shape.batch * shape.k_len, shape.kv_heads * shape.head_dim),
    ]
}

impl CpuKernel for Forward {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (i, [o, lse], scratch) = io.take()?;
        let [(rows, cols), (kv_rows, kv_cols)] = extents(&self.shape);
        let q = FloatMat::new(i.floats(0)?, rows, cols)?;
        let k = FloatMat::new(i.floats(1)?, kv_rows, kv_cols)?;
        let v = FloatMat::new(i.floats(2)?, kv_rows, kv_cols)?;
        let segments = i.i32_if(self.segments, 3)?;
        let o = FloatMatMut::new(o.floats()?, rows, cols)?;
        attention(&self.shape, q, k, v, segments, o, lse.of()?, scratch)
    }
}

impl CpuKernel for Backward {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (i, [dq, dk, dv], scratch) = io.take()?;
        let [(rows, cols), (kv_rows, kv_cols)] = extents(&self.shape);
        let d_o = FloatMat::new(i.floats(0)?, rows, cols)?;
        let q = FloatMat::new(i.floats(1)?, rows, cols)?;
        let k = FloatMat::new(i.floats(2)?, kv_rows, kv_cols)?;
        let v = FloatMat::new(i.floats(3)?, kv_rows, kv_cols)?;
        let o = FloatMat::new(i.floats(4)?, rows, cols)?;
        let lse = i.f32(5)?;
        let segments = i.i32_if(self.segments, 6)?;
        let dq = FloatMatMut::wanted(dq.floats()?, rows, cols)?;
        let dk = FloatMatMut::wanted(dk.floats()?, kv_rows, kv_cols)?;
        let dv = FloatMatMut::wanted(dv.floats()?, kv_rows, kv_cols)?;
        attention_grad(&self.shape, q, k, v, segments, o, lse, d_o, dq, dk, dv, scratch)
    }
}
