//! Cross-entropy and its gradient.

use crossloom_ir::TensorType;
use crossloom_ir::op::Op;

use crate::exec::io::{CpuKernel, Io, KernelError, Lowered};
use crate::math::exp_v;
use crate::parallel::{self, SharedMut, chunk_range};
use crate::simd::{self, Simd, Vf, dispatch, map1};

struct Loss {
    vocab: usize,
}
struct LossGrad {
    vocab: usize,
}

pub(super) fn lower(op: &Op, inputs: &[&TensorType]) -> Option<Lowered> {
    match op {
        Op::CrossEntropy(_) => Some(Lowered::new("cross_entropy", Loss { vocab: inputs[0].last() })),
        Op::CrossEntropyGrad(_) => {
            Some(Lowered::new("cross_entropy_grad", LossGrad { vocab: inputs[1].last() }))
        }
        _ => None,
    }
}

dispatch!(fn log_sum_exp(row: &[f32]) -> f32 = log_sum_exp_body);

#[inline(always)]
fn log_sum_exp_body<S: Simd>(s: S, row: &[f32]) -> f32 {
    let largest = simd::max(s, row);
    let mut sum = 0.0;
    let mut block = [0.0f32; 256];
    for part in row.chunks(256) {
        let shifted = &mut block[..part.len()];
        map1!(s, part, shifted, |x| exp_v(x - Vf::splat(s, largest)));
        sum += simd::sum(s, shifted);
    }
    largest + sum.ln()
}

dispatch!(fn softmax_minus_one_hot(row: &[f32], lse: f32, target: usize, scale: f32, out: &mut [f32]) = grad_body);

#[inline(always)]
fn grad_body<S: Simd>(s: S, row: &[f32], lse: f32, target: usize, scale: f32, out: &mut [f32]) {
    let (lse, factor) = (Vf::splat(s, lse), Vf::splat(s, scale));
    map1!(s, row, out, |x| exp_v(x - lse) * factor);
    out[target] -= scale;
}

/// The target of a row, or `None` where it is ignored.
fn target(id: i32, vocab: usize) -> Result<Option<usize>, KernelError> {
    match usize::try_from(id) {
        Ok(target) if target < vocab => Ok(Some(target)),
        Err(_) if id == -1 => Ok(None),
        _ => Err(KernelError(format!("target {id} is neither -1 nor in 0..{vocab}"))),
    }
}

impl CpuKernel for Loss {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [loss, lse], _) = io.split()?;
        let (mut sum, mut count) = (0.0f64, 0usize);
        for ((row, lse), &id) in inputs.f32(0).chunks_exact(self.vocab).zip(lse).zip(inputs.i32(1)) {
            *lse = log_sum_exp(row);
            if let Some(target) = target(id, self.vocab)? {
                sum += f64::from(*lse) - f64::from(row[target]);
                count += 1;
            }
        }
        loss[0] = if count == 0 { 0.0 } else { (sum / count as f64) as f32 };
        Ok(())
    }
}

impl CpuKernel for LossGrad {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [out], _) = io.split()?;
        let (logits, ids, lse) = (inputs.f32(1), inputs.i32(2), inputs.f32(3));
        let mut count = 0usize;
        for &id in ids {
            count += usize::from(target(id, self.vocab)?.is_some());
        }
        let scale = inputs.f32(0)[0] / count.max(1) as f32;
        let (rows, width) = (ids.len(), self.vocab);
        let per_task = (8_192 / width.max(1)).max(1);
        let out = SharedMut::new(out);
        parallel::for_each(rows.div_ceil(per_task), |task| {
            for row in chunk_range(rows, per_task, task) {
                // SAFETY: rows are disjoint and within the result.
                let out = unsafe { out.slice(row * width, width) };
                match usize::try_from(ids[row]) {
                    Ok(target) => softmax_minus_one_hot(
                        &logits[row * width..(row + 1) * width],
                        lse[row],
                        target,
                        scale,
                        out,
                    ),
                    Err(_) => out.fill(0.0),
                }
            }
        });
        Ok(())
    }
}
