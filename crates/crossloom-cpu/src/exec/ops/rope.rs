//! Rotary positions, half rotation.

use crossloom_ir::TensorType;
use crossloom_ir::op::Rope;

use crate::exec::io::{CpuKernel, Io, KernelError, Lowered};
use crate::parallel::{self, SharedMut, chunk_range};

struct RopeKernel {
    width: usize,
    head_dim: usize,
    /// Angle per position of every pair; negative for the inverse.
    frequencies: Vec<f64>,
}

pub(super) fn lower(op: &Rope, inputs: &[&TensorType]) -> Lowered {
    let sign = if op.inverse { -1.0 } else { 1.0 };
    let half = op.head_dim / 2;
    let frequencies = (0..half).map(|i| sign * op.theta.powf(-2.0 * i as f64 / op.head_dim as f64)).collect();
    let kernel = RopeKernel { width: inputs[0].last(), head_dim: op.head_dim, frequencies };
    let rows = inputs[1].elements();
    Lowered::with_scratch("rope", rows * op.head_dim, kernel).in_place(vec![(0, 0)])
}

impl CpuKernel for RopeKernel {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [out], scratch) = io.split()?;
        inputs.take(0, out);
        let positions = inputs.i32(1);
        let (half, width) = (self.head_dim / 2, self.width);
        let (out, table) = (SharedMut::new(out), SharedMut::new(scratch));
        let per_task = 64;
        parallel::for_each(positions.len().div_ceil(per_task), |task| {
            for row in chunk_range(positions.len(), per_task, task) {
                // SAFETY: every row has its own part of the result and of the table.
                let (x, angles) =
                    unsafe { (out.slice(row * width, width), table.slice(row * 2 * half, 2 * half)) };
                let (cos, sin) = angles.split_at_mut(half);
                for ((c, s), frequency) in cos.iter_mut().zip(sin.iter_mut()).zip(&self.frequencies) {
                    let (sine, cosine) = (f64::from(positions[row]) * frequency).sin_cos();
                    (*c, *s) = (cosine as f32, sine as f32);
                }
                for head in x.chunks_exact_mut(self.head_dim) {
                    let (low, high) = head.split_at_mut(half);
                    for (((a, b), c), s) in low.iter_mut().zip(high).zip(&*cos).zip(&*sin) {
                        (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
                    }
                }
            }
        });
        Ok(())
    }
}
