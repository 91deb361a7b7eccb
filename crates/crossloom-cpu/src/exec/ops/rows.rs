//! Ops on whole rows to the kernels: `softmax` (in place), `embedding`, `gather_rows`, `scatter_rows` (in place) and the
//! gradient of a table. `argmax` has no kernel of its own and is computed here, rows in parallel.

use crossloom_ir::TensorType;
use crossloom_ir::op::{Op, ScatterMode};

use crate::element::{Floats, FloatsMut};
use crate::exec::io::{CpuKernel, Io, Lowered, typed};
use crate::kernels::{
    KernelError, Rows, Scatter, distinct, embedding, embedding_blocks, embedding_grad, gather_rows, indices,
    scatter_rows, softmax,
};
use crate::parallel::{self, SharedMut, chunk_range};

struct Softmax {
    rows: usize,
    cols: usize,
}
struct Argmax {
    cols: usize,
}
struct Embedding {
    vocab: usize,
    cols: usize,
}
struct EmbeddingGrad {
    vocab: usize,
    cols: usize,
}
struct Gather(Rows);
struct ScatterInto(Rows, Scatter);

/// The kernel of an op on rows.
pub(super) fn lower(op: &Op, inputs: &[&TensorType]) -> Option<Lowered> {
    let (first, cols) = (inputs[0], inputs[0].last());
    let indexed = || Rows {
        batch: first.shape[0],
        len: first.shape[1],
        count: inputs[1].shape[1],
        cols: first.shape[2],
    };
    Some(match op {
        Op::Softmax(_) => {
            Lowered::new("softmax", Softmax { rows: first.rows(), cols }).in_place(vec![(0, 0)])
        }
        Op::Argmax(_) => Lowered::new("argmax", Argmax { cols }).ints(&[], &[0]),
        Op::Embedding(_) => {
            let kernel = Embedding { vocab: first.shape[0], cols };
            Lowered::new("embedding", kernel).weights(&[0]).floats(&[], &[0]).ints(&[1], &[])
        }
        Op::EmbeddingGrad(op) => {
            let kernel = EmbeddingGrad { vocab: op.vocab, cols };
            Lowered::new("embedding_grad", kernel).floats(&[0], &[]).ints(&[1], &[])
        }
        Op::GatherRows(_) => {
            Lowered::new("gather_rows", Gather(indexed())).floats(&[0], &[0]).ints(&[1], &[])
        }
        Op::ScatterRows(op) => {
            let mode = match op.mode {
                ScatterMode::Set => Scatter::Set,
                ScatterMode::Add => Scatter::Add,
            };
            let kernel = ScatterInto(indexed(), mode);
            let lowered = Lowered::new("scatter_rows", kernel).in_place(vec![(0, 0)]);
            lowered.floats(&[0, 2], &[0]).ints(&[1], &[])
        }
        _ => return None,
    })
}

impl CpuKernel for Softmax {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [y], _) = io.split()?;
        let x = inputs.unless_taken(0)?;
        softmax(self.rows, self.cols, x, y)
    }
}

impl CpuKernel for Argmax {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [out], _) = io.take()?;
        let out = out.of::<i32>()?;
        let (x, cols, rows) = (inputs.f32(0)?, self.cols, out.len());
        let per_task = (16_384 / cols.max(1)).max(1);
        let out = SharedMut::new(out);
        parallel::for_each(rows.div_ceil(per_task), |task| {
            for r in chunk_range(rows, per_task, task) {
                let row = &x[r * cols..(r + 1) * cols];
                let best = (1..cols).fold(0, |best, c| if row[c] > row[best] { c } else { best });
                // SAFETY: every row has one result, written by its task alone.
                let result = unsafe { out.slice(r, 1) };
                result[0] = best as i32;
            }
        });
        Ok(())
    }
}

impl CpuKernel for Embedding {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [out], _) = io.take()?;
        let ids = inputs.i32(1)?;
        indices("embedding", "ids", ids, self.vocab, false)?;
        if let Some(table) = inputs.blocks(0)? {
            return typed!(
                out: FloatsMut = out.floats()?; embedding_blocks(self.vocab, self.cols, table, ids, out)
            );
        }
        typed!(
            table: Floats = inputs.floats(0)?, out: FloatsMut = out.floats()?;
            embedding(self.vocab, self.cols, table, ids, out)
        )
    }
}

impl CpuKernel for EmbeddingGrad {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [out], _) = io.split()?;
        let ids = inputs.i32(1)?;
        indices("embedding_grad", "ids", ids, self.vocab, false)?;
        typed!(dy: Floats = inputs.floats(0)?; embedding_grad(self.vocab, self.cols, dy, ids, out))
    }
}

impl CpuKernel for Gather {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [rows], _) = io.take()?;
        let index = inputs.i32(1)?;
        typed!(rows: FloatsMut = rows.floats()?; gather_rows(&self.0, inputs.of(0)?, index, rows))
    }
}

impl CpuKernel for ScatterInto {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [h], _) = io.take()?;
        let Self(shape, mode) = self;
        let index = inputs.i32(1)?;
        if *mode == Scatter::Set {
            distinct("scatter_rows", "index", index, shape.count)?;
        }
        typed!(h: FloatsMut = h.floats()?; {
            inputs.take(0, h)?;
            scatter_rows(shape, *mode, h, index, inputs.of(2)?)
        })
    }
}
