//! `reduce_sum` over leading or trailing axes to the kernels `sum_rows` and `sum_cols`; other sums and `reduce_max`, over
//! adjacent axes, to a short loop. Axes that are not adjacent are left to the compiler's expansion.

use crossloom_ir::TensorType;
use crossloom_ir::op::{Reduce, ReduceKind};

use crate::element::Floats;
use crate::exec::io::{CpuKernel, Io, Lowered, typed};
use crate::kernels::{KernelError, sum_cols, sum_rows, sum_rows_scratch_len};
use crate::parallel::{self, SharedMut, chunk_range};

struct SumLeading {
    rows: usize,
    cols: usize,
}

struct SumTrailing {
    rows: usize,
    cols: usize,
}

/// Columns of a task at most.
const COLUMNS: usize = 4_096;

/// Adjacent axes: `outer` slabs of `extent` rows of `inner` elements.
struct Middle {
    kind: ReduceKind,
    outer: usize,
    extent: usize,
    inner: usize,
}

pub(super) fn lower(op: &Reduce, inputs: &[&TensorType]) -> Option<Lowered> {
    let shape = &inputs[0].shape;
    let (rank, count) = (shape.len(), op.axes.len());
    let product = |axes: &[usize]| axes.iter().product::<usize>();
    let leading = op.axes.iter().copied().eq(0..count);
    let trailing = op.axes.iter().copied().eq(rank - count..rank);
    match op.kind {
        ReduceKind::Sum if leading => {
            let (rows, cols) = (product(&shape[..count]), product(&shape[count..]));
            let scratch = sum_rows_scratch_len(rows, cols);
            Some(Lowered::with_scratch("sum_rows", scratch, SumLeading { rows, cols }).floats(&[0], &[]))
        }
        ReduceKind::Sum if trailing => {
            let (rows, cols) = (product(&shape[..rank - count]), product(&shape[rank - count..]));
            Some(Lowered::new("sum_cols", SumTrailing { rows, cols }).floats(&[0], &[]))
        }
        kind => {
            let first = *op.axes.first()?;
            let end = first + count;
            let adjacent = op.axes.iter().copied().eq(first..end);
            let (outer, extent) = (product(&shape[..first]), product(shape.get(first..end)?));
            let inner = product(&shape[end..]);
            adjacent.then(|| Lowered::new("reduce_axis", Middle { kind, outer, extent, inner }))
        }
    }
}

impl CpuKernel for SumLeading {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [out], scratch) = io.split()?;
        typed!(x: Floats = inputs.floats(0)?; sum_rows(self.rows, self.cols, x, out, scratch))
    }
}

impl CpuKernel for SumTrailing {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [out], _) = io.split()?;
        typed!(x: Floats = inputs.floats(0)?; sum_cols(self.rows, self.cols, x, out))
    }
}

impl CpuKernel for Middle {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [out], _) = io.split()?;
        let (x, sum) = (inputs.f32(0)?, self.kind == ReduceKind::Sum);
        let out = SharedMut::new(out);
        // A task has a few slabs or, of a large one, some columns; every result is combined in the order of the rows.
        let columns = self.inner.min(COLUMNS);
        let parts = self.inner.div_ceil(columns.max(1));
        parallel::for_each(self.outer * parts, |task| {
            let (outer, cols) = (task / parts, chunk_range(self.inner, columns, task % parts));
            // SAFETY: tasks own disjoint columns of the slabs.
            let target = unsafe { out.slice(outer * self.inner + cols.start, cols.len()) };
            target.fill(if sum { 0.0 } else { f32::NEG_INFINITY });
            for row in 0..self.extent {
                let at = (outer * self.extent + row) * self.inner;
                let x = &x[at + cols.start..at + cols.end];
                if sum {
                    target.iter_mut().zip(x).for_each(|(t, x)| *t += x);
                } else {
                    // A NaN is taken, and stays, because nothing is larger.
                    target
                        .iter_mut()
                        .zip(x)
                        .for_each(|(t, &x)| *t = if x > *t || x.is_nan() { x } else { *t });
                }
            }
        });
        Ok(())
    }
}
