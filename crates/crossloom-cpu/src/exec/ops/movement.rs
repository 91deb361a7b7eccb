//! Copies of elements of any type: `transpose`, `broadcast` and `slice` to the strided copy of the kernels; `reshape`,
//! `concat` and `pad`, and coordinates, which have no kernel, to short loops over fixed chunks. Conversions.

use bytemuck::Pod;
use crossloom_ir::interp::strides;
use crossloom_ir::op::Op;
use crossloom_ir::{DType, TensorType};
use half::f16;

use crate::element::{Element, Floats, FloatsMut};
use crate::exec::io::{CpuKernel, Inputs, Io, Lowered, Move, typed};
use crate::kernels::{KernelError, convert, permute};
use crate::parallel::{self, SharedMut, chunk_range};

/// Elements of a task.
const CHUNK: usize = 16_384;
/// The most axes the strided copy takes.
const MAX_RANK: usize = 6;

/// A copy whose source address is linear in the coordinates of the result.
struct StridedCopy {
    /// Result extents, slowest first.
    shape: Vec<usize>,
    /// Source distance of a step along every axis.
    steps: Vec<usize>,
    /// Source of the first element.
    start: usize,
}

/// Adjacent elements in their order.
struct FlatCopy {
    start: usize,
}

/// Parts one after the other, each of `lens[i]` elements, `outer` times.
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

struct Convert;
struct ToFloat;
struct ToInt;
struct Iota {
    inner: usize,
    extent: usize,
}

/// The kernel of an op that moves or converts elements; `None` for a copy along more than six axes that do not join.
pub(super) fn lower(op: &Op, inputs: &[&TensorType], outputs: &[&TensorType]) -> Option<Lowered> {
    let out = &outputs[0].shape;
    Some(match op {
        Op::Convert(_) => Lowered::new("convert", Convert).any_floats(&[0], &[0]),
        Op::ToFloat(_) => Lowered::new("to_float", ToFloat).ints(&[0], &[]),
        Op::ToInt(_) => Lowered::new("to_int", ToInt).ints(&[], &[0]),
        Op::Iota(op) => {
            let inner = out[op.axis + 1..].iter().product();
            Lowered::new("iota", Iota { inner, extent: out[op.axis] })
        }
        Op::Transpose(op) => {
            let from = strides(&inputs[0].shape);
            return copy("transpose", out, &op.perm.iter().map(|&axis| from[axis]).collect::<Vec<_>>(), 0);
        }
        Op::Broadcast(op) => {
            let from = strides(&inputs[0].shape);
            let step = |axis| op.axes.iter().position(|&a| a == axis).map_or(0, |i| from[i]);
            return copy("broadcast", out, &(0..out.len()).map(step).collect::<Vec<_>>(), 0);
        }
        Op::Slice(op) => {
            let from = strides(&inputs[0].shape);
            let start = op.start * from[op.axis];
            return copy("slice", out, &from, start);
        }
        Op::Reshape(_) => Lowered::moved("copy", FlatCopy { start: 0 }),
        Op::Concat(op) => {
            let lens = inputs.iter().map(|ty| ty.shape[op.axis..].iter().product()).collect();
            Lowered::moved("concat", Concat { outer: out[..op.axis].iter().product(), lens })
        }
        Op::Pad(op) => {
            let shape = &inputs[0].shape;
            let inner: usize = shape[op.axis + 1..].iter().product();
            let (before, len, after) = (op.before * inner, shape[op.axis] * inner, op.after * inner);
            Lowered::moved("pad", Pad { outer: shape[..op.axis].iter().product(), before, len, after })
        }
        _ => return None,
    })
}

/// Joins axes that are adjacent in source and result, so that the strided copy has as few as it can.
fn copy(name: &'static str, shape: &[usize], steps: &[usize], start: usize) -> Option<Lowered> {
    let mut joined: Vec<(usize, usize)> = Vec::new();
    for (&extent, &step) in shape.iter().zip(steps).filter(|(extent, _)| **extent != 1) {
        match joined.last_mut() {
            Some((outer, outer_step)) if *outer_step == extent * step => {
                *outer *= extent;
                *outer_step = step;
            }
            _ => joined.push((extent, step)),
        }
    }
    if joined.is_empty() || matches!(joined[..], [(_, 1)]) {
        return Some(Lowered::moved(name, FlatCopy { start }));
    }
    let (shape, steps): (Vec<_>, Vec<_>) = joined.into_iter().unzip();
    (shape.len() <= MAX_RANK).then(|| Lowered::moved(name, StridedCopy { shape, steps, start }))
}

impl Move for StridedCopy {
    fn run<T: Pod + Send + Sync>(&self, inputs: &Inputs<'_>, out: &mut [T]) -> Result<(), KernelError> {
        let source = inputs.bits(0)?.get(self.start..).unwrap_or_default();
        permute(&self.shape, &self.steps, source, out)
    }
}

/// Columns of every row of a result: `len` elements from `first` on, in rows of `width` elements, `outer` times.
struct Columns {
    outer: usize,
    len: usize,
    first: usize,
    width: usize,
}

impl Columns {
    /// Calls `fill(flat index among the columns, elements)` for runs of adjacent elements, in parallel.
    fn fill<T: Send>(&self, out: SharedMut<'_, T>, fill: impl Fn(usize, &mut [T]) + Sync) {
        let total = self.outer * self.len;
        parallel::for_each(total.div_ceil(CHUNK), |task| {
            let mut range = chunk_range(total, CHUNK, task);
            while !range.is_empty() {
                let (row, col) = (range.start / self.len, range.start % self.len);
                let n = (self.len - col).min(range.len());
                // SAFETY: columns are within their row, rows within the result; tasks own disjoint ranges of them.
                fill(range.start, unsafe { out.slice(row * self.width + self.first + col, n) });
                range.start += n;
            }
        });
    }

    /// Copies the columns from adjacent elements.
    fn copy<T: Copy + Send + Sync>(&self, source: &[T], out: SharedMut<'_, T>) {
        self.fill(out, |at, piece| piece.copy_from_slice(&source[at..at + piece.len()]));
    }
}

/// Calls `fill(index of the first, elements)` for pieces of a result, in parallel.
fn fill_all<T: Send>(out: &mut [T], fill: impl Fn(usize, &mut [T]) + Sync) {
    let len = out.len();
    Columns { outer: 1, len, first: 0, width: len }.fill(SharedMut::new(out), fill);
}

impl Move for FlatCopy {
    fn run<T: Pod + Send + Sync>(&self, inputs: &Inputs<'_>, out: &mut [T]) -> Result<(), KernelError> {
        let source = inputs.bits(0)?.get(self.start..).unwrap_or_default();
        fill_all(out, |at, piece| piece.copy_from_slice(&source[at..at + piece.len()]));
        Ok(())
    }
}

impl Move for Concat {
    fn run<T: Pod + Send + Sync>(&self, inputs: &Inputs<'_>, out: &mut [T]) -> Result<(), KernelError> {
        let (outer, width, out) = (self.outer, self.lens.iter().sum(), SharedMut::new(out));
        let mut first = 0;
        for (i, &len) in self.lens.iter().enumerate() {
            Columns { outer, len, first, width }.copy(inputs.bits(i)?, out);
            first += len;
        }
        Ok(())
    }
}

impl Move for Pad {
    /// Zero bits are zero in every type that is moved.
    fn run<T: Pod + Send + Sync>(&self, inputs: &Inputs<'_>, out: &mut [T]) -> Result<(), KernelError> {
        let Self { outer, before, len, after } = *self;
        let (width, out) = (before + len + after, SharedMut::new(out));
        Columns { outer, len: before, first: 0, width }.fill(out, |_, piece| piece.fill(T::zeroed()));
        Columns { outer, len, first: before, width }.copy(inputs.bits(0)?, out);
        Columns { outer, len: after, first: before + len, width }
            .fill(out, |_, piece| piece.fill(T::zeroed()));
        Ok(())
    }
}

impl CpuKernel for Convert {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [out], _) = io.take()?;
        match (inputs.dtype(0)?, out.dtype()) {
            (DType::F16, DType::F16) => out.of::<f16>()?.copy_from_slice(inputs.of(0)?),
            (DType::F16, _) => {
                let x = inputs.of::<f16>(0)?;
                typed!(y: FloatsMut = out.floats()?; fill_all(y, |at, piece| {
                    piece.iter_mut().zip(&x[at..]).for_each(|(y, x)| *y = Element::round(x.to_f32()));
                }));
            }
            (_, DType::F16) => {
                let y = out.of::<f16>()?;
                typed!(x: Floats = inputs.floats(0)?; fill_all(y, |at, piece| {
                    piece.iter_mut().zip(&x[at..]).for_each(|(y, x)| *y = f16::from_f32(x.widen()));
                }));
            }
            _ => typed!(x: Floats = inputs.floats(0)?, y: FloatsMut = out.floats()?; convert(x, y))?,
        }
        Ok(())
    }
}

impl CpuKernel for ToFloat {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [out], _) = io.split()?;
        let x = inputs.i32(0)?;
        fill_all(out, |at, words| words.iter_mut().zip(&x[at..]).for_each(|(y, &x)| *y = x as f32));
        Ok(())
    }
}

impl CpuKernel for ToInt {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [out], _) = io.take()?;
        let out = out.of::<i32>()?;
        let x = inputs.f32(0)?;
        let bound = 2_147_483_648.0;
        if let Some(x) = x.iter().find(|x| !(-bound..bound).contains(*x)) {
            return Err(KernelError::NotWhole { kernel: "to_int", value: x.to_string() });
        }
        fill_all(out, |at, words| words.iter_mut().zip(&x[at..]).for_each(|(y, &x)| *y = x as i32));
        Ok(())
    }
}

impl CpuKernel for Iota {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (_, [out], _) = io.split()?;
        fill_all(out, |at, words| {
            words.iter_mut().zip(at..).for_each(|(y, i)| *y = (i / self.inner % self.extent) as f32);
        });
        Ok(())
    }
}
