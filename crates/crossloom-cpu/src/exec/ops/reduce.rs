//! Sums and maxima over leading or trailing axes; other axes are left to the compiler's expansion.

use crossloom_ir::TensorType;
use crossloom_ir::op::{Reduce, ReduceKind};

use crate::exec::io::{CpuKernel, Io, KernelError, Lowered};
use crate::kernels::{sum_cols, sum_rows, sum_rows_scratch_len};

struct SumLeading {
    rows: usize,
    cols: usize,
}

struct SumTrailing {
    rows: usize,
    cols: usize,
}

/// Any one axis: `outer` slabs of `extent` rows of `inner` elements.
struct OneAxis {
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
            Some(Lowered::with_scratch(
                "sum_rows",
                sum_rows_scratch_len(rows, cols),
                SumLeading { rows, cols },
            ))
        }
        ReduceKind::Sum if trailing => {
            let (rows, cols) = (product(&shape[..rank - count]), product(&shape[rank - count..]));
            Some(Lowered::new("sum_cols", SumTrailing { rows, cols }))
        }
        kind if count == 1 => {
            let axis = op.axes[0];
            let (outer, extent, inner) = (product(&shape[..axis]), shape[axis], product(&shape[axis + 1..]));
            Some(Lowered::new("reduce_axis", OneAxis { kind, outer, extent, inner }))
        }
        _ => None,
    }
}

impl CpuKernel for SumLeading {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [out], scratch) = io.split()?;
        Ok(sum_rows(self.rows, self.cols, inputs.f32(0), out, false, scratch)?)
    }
}

impl CpuKernel for SumTrailing {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [out], _) = io.split()?;
        Ok(sum_cols(self.rows, self.cols, inputs.f32(0), out, false)?)
    }
}

impl CpuKernel for OneAxis {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [out], _) = io.split()?;
        let x = inputs.f32(0);
        for outer in 0..self.outer {
            let target = &mut out[outer * self.inner..(outer + 1) * self.inner];
            target.fill(if self.kind == ReduceKind::Sum { 0.0 } else { f32::NEG_INFINITY });
            for row in 0..self.extent {
                let at = (outer * self.extent + row) * self.inner;
                for (t, &x) in target.iter_mut().zip(&x[at..at + self.inner]) {
                    *t = if self.kind == ReduceKind::Sum { *t + x } else { t.max(x) };
                }
            }
        }
        Ok(())
    }
}
