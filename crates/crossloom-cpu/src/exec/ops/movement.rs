//! Copies in another order: `transpose`, `broadcast`, `slice`, `pad`, `concat`, conversions, coordinates.

use crossloom_ir::TensorType;
use crossloom_ir::interp::strides;
use crossloom_ir::op::Op;

use crate::exec::io::{CpuKernel, Io, KernelError, Lowered, ints};
use crate::parallel::{self, SharedMut, chunk_range};

/// A copy whose source address is linear in the coordinates of the result.
struct StridedCopy {
    /// Result extents, slowest first; at least one.
    shape: Vec<usize>,
    /// Source distance of a step along every axis.
    steps: Vec<usize>,
    /// Source of the first element.
    start: usize,
}

/// Parts one after the other, each of `lens[i]` words, `outer` times.
struct Concat {
    outer: usize,
    lens: Vec<usize>,
}

/// Zeros, then a slab of the operand, then zeros, `outer` times.
struct Pad {
    outer: usize,
    before: usize,
    len: usize,
    after: usize,
}

struct ToFloat;
struct ToInt;
struct Iota {
    inner: usize,
    extent: usize,
}

pub(super) fn lower(op: &Op, inputs: &[&TensorType], outputs: &[&TensorType]) -> Option<Lowered> {
    let out = &outputs[0].shape;
    Some(match op {
        Op::ToFloat(_) => Lowered::new("to_float", ToFloat),
        Op::ToInt(_) => Lowered::new("to_int", ToInt),
        Op::Iota(op) => {
            let inner = out[op.axis + 1..].iter().product();
            Lowered::new("iota", Iota { inner, extent: out[op.axis] })
        }
        Op::Transpose(op) => {
            let from = strides(&inputs[0].shape);
            copy("transpose", out, op.perm.iter().map(|&axis| from[axis]).collect(), 0)
        }
        Op::Broadcast(op) => {
            let from = strides(&inputs[0].shape);
            let step = |axis| op.axes.iter().position(|&a| a == axis).map_or(0, |i| from[i]);
            copy("broadcast", out, (0..out.len()).map(step).collect(), 0)
        }
        Op::Slice(op) => {
            let from = strides(&inputs[0].shape);
            let start = op.start * from[op.axis];
            copy("slice", out, from, start)
        }
        Op::Reshape(_) => copy("copy", &[outputs[0].elements()], vec![1], 0),
        Op::Concat(op) => {
            let lens = inputs.iter().map(|ty| ty.shape[op.axis..].iter().product()).collect();
            Lowered::new("concat", Concat { outer: out[..op.axis].iter().product(), lens })
        }
        Op::Pad(op) => {
            let shape = &inputs[0].shape;
            let inner: usize = shape[op.axis + 1..].iter().product();
            let (before, len, after) = (op.before * inner, shape[op.axis] * inner, op.after * inner);
            Lowered::new("pad", Pad { outer: shape[..op.axis].iter().product(), before, len, after })
        }
        _ => return None,
    })
}

/// Joins axes that are adjacent in source and result, so that the inner loop is as long as it can be.
fn copy(name: &'static str, shape: &[usize], steps: Vec<usize>, start: usize) -> Lowered {
    let mut joined: Vec<(usize, usize)> = Vec::new();
    for (&extent, &step) in shape.iter().zip(&steps) {
        match joined.last_mut() {
            Some((outer, outer_step)) if *outer_step == extent * step => {
                *outer *= extent;
                *outer_step = step;
            }
            _ => joined.push((extent, step)),
        }
    }
    if joined.is_empty() {
        joined.push((1, 1));
    }
    let (shape, steps) = joined.into_iter().unzip();
    Lowered::new(name, StridedCopy { shape, steps, start })
}

impl CpuKernel for StridedCopy {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [out], _) = io.split()?;
        let source = inputs.f32(0);
        let inner = self.shape[self.shape.len() - 1];
        let step = self.steps[self.steps.len() - 1];
        let rows = out.len() / inner.max(1);
        let per_task = (16_384 / inner.max(1)).max(1);
        let out = SharedMut::new(out);
        parallel::for_each(rows.div_ceil(per_task), |task| {
            for row in chunk_range(rows, per_task, task) {
                let mut from = self.start;
                let mut rest = row;
                for axis in (0..self.shape.len() - 1).rev() {
                    from += rest % self.shape[axis] * self.steps[axis];
                    rest /= self.shape[axis];
                }
                // SAFETY: rows are disjoint and `rows * inner` is the result's length.
                let target = unsafe { out.slice(row * inner, inner) };
                match step {
                    1 => target.copy_from_slice(&source[from..from + inner]),
                    0 => target.fill(source[from]),
                    _ => target.iter_mut().enumerate().for_each(|(i, t)| *t = source[from + i * step]),
                }
            }
        });
        Ok(())
    }
}

impl CpuKernel for Concat {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [out], _) = io.split()?;
        let total: usize = self.lens.iter().sum();
        for (row, target) in out.chunks_exact_mut(total.max(1)).take(self.outer).enumerate() {
            let mut at = 0;
            for (i, &len) in self.lens.iter().enumerate() {
                target[at..at + len].copy_from_slice(&inputs.f32(i)[row * len..(row + 1) * len]);
                at += len;
            }
        }
        Ok(())
    }
}

impl CpuKernel for Pad {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [out], _) = io.split()?;
        let source = inputs.f32(0);
        let total = self.before + self.len + self.after;
        for (row, target) in out.chunks_exact_mut(total.max(1)).take(self.outer).enumerate() {
            target[..self.before].fill(0.0);
            target[self.before..self.before + self.len]
                .copy_from_slice(&source[row * self.len..(row + 1) * self.len]);
            target[self.before + self.len..].fill(0.0);
        }
        Ok(())
    }
}

impl CpuKernel for ToFloat {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [out], _) = io.split()?;
        inputs.i32(0).iter().zip(out).for_each(|(&x, y)| *y = x as f32);
        Ok(())
    }
}

impl CpuKernel for ToInt {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [out], _) = io.split()?;
        inputs.f32(0).iter().zip(ints(out)).for_each(|(&x, y)| *y = x as i32);
        Ok(())
    }
}

impl CpuKernel for Iota {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (_, [out], _) = io.split()?;
        out.iter_mut().enumerate().for_each(|(i, y)| *y = (i / self.inner % self.extent) as f32);
        Ok(())
    }
}
