//! Ops on whole rows to the kernels: `softmax` (in place), `embedding`, `gather_rows`, `scatter_rows` (in place), `mix_rows`, and the
//! gradients of tables and mixed rows. `argmax` has no kernel of its own and is computed here, rows in parallel.

use crossloom_ir::TensorType;
use crossloom_ir::op::{Op, ScatterMode};

use crate::element::{Floats, FloatsMut};
use crate::exec::io::{CpuKernel, Io, Lowered, typed};
use crate::kernels::{
    KernelError, MixRows, Rows, Scatter, distinct, embedding, embedding_blocks, embedding_grad, gather_rows,
    indices, mix_rows, mix_rows_grad, scatter_rows, softmax,
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
struct Mix(MixRows);
struct MixGrad(MixRows);

/// The shape of a mix, from those of features `[K, R, D]` and rows `[B, N, P]`.
fn mix(features: [usize; 3], parts: &TensorType) -> MixRows {
    let [taps, rows, cols] = features;
    MixRows { taps, rows, cols, tokens: parts.shape[0] * parts.shape[1], parts: parts.shape[2] }
}

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
        Op::MixRows(_) => {
            let shape = mix([0, 1, 2].map(|axis| first.shape[axis]), inputs[2]);
            Lowered::new("mix_rows", Mix(shape)).floats(&[0], &[0]).ints(&[2], &[])
        }
        Op::MixRowsGrad(op) => {
            let shape = mix([first.shape[0], op.rows, cols], inputs[1]);
            Lowered::new("mix_rows_grad", MixGrad(shape)).floats(&[0], &[]).ints(&[1], &[])
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

impl CpuKernel for Mix {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [out], _) = io.take()?;
        let (end, parts) = (inputs.f32(1)?, (inputs.i32(2)?, inputs.f32(3)?));
        typed!(
            features: Floats = inputs.floats(0)?, out: FloatsMut = out.floats()?;
            mix_rows(&self.0, features, end, parts, out)
        )
    }
}

impl CpuKernel for MixGrad {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [d_features, d_end], _) = io.split()?;
        let parts = (inputs.i32(1)?, inputs.f32(2)?);
        typed!(dy: Floats = inputs.floats(0)?; mix_rows_grad(&self.0, dy, parts, d_features, d_end))
    }
}
