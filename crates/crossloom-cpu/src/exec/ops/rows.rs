//! Rows by index: embeddings, gathers, scatters, the largest logit.

use crossloom_ir::TensorType;
use crossloom_ir::op::{Op, ScatterMode};

use crate::exec::io::{CpuKernel, Io, KernelError, Lowered, ints};

/// Shapes of an op over `[B, T, D]` with an index `[B, M]`.
#[derive(Clone, Copy)]
struct Indexed {
    batch: usize,
    tokens: usize,
    width: usize,
    count: usize,
}

struct Argmax {
    width: usize,
}
struct Embedding {
    vocab: usize,
    width: usize,
}
struct EmbeddingGrad {
    vocab: usize,
    width: usize,
}
struct Gather(Indexed);
struct Scatter(Indexed, ScatterMode);

pub(super) fn lower(op: &Op, inputs: &[&TensorType]) -> Option<Lowered> {
    let indexed = || {
        let h = &inputs[0].shape;
        Indexed { batch: h[0], tokens: h[1], width: h[2], count: inputs[1].shape[1] }
    };
    Some(match op {
        Op::Argmax(_) => Lowered::new("argmax", Argmax { width: inputs[0].last() }),
        Op::Embedding(_) => {
            let (vocab, width) = (inputs[0].shape[0], inputs[0].shape[1]);
            Lowered::new("embedding", Embedding { vocab, width })
        }
        Op::EmbeddingGrad(op) => {
            Lowered::new("embedding_grad", EmbeddingGrad { vocab: op.vocab, width: inputs[0].last() })
        }
        Op::GatherRows(_) => Lowered::new("gather_rows", Gather(indexed())),
        Op::ScatterRows(op) => {
            Lowered::new("scatter_rows", Scatter(indexed(), op.mode)).in_place(vec![(0, 0)])
        }
        _ => return None,
    })
}

/// The row an id names.
fn row(id: i32, bound: usize, what: &str) -> Result<usize, KernelError> {
    usize::try_from(id)
        .ok()
        .filter(|&row| row < bound)
        .ok_or_else(|| KernelError(format!("{what} {id} is outside 0..{bound}")))
}

impl CpuKernel for Argmax {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [out], _) = io.split()?;
        for (row, best) in inputs.f32(0).chunks_exact(self.width).zip(ints(out)) {
            let mut at = 0;
            for (i, x) in row.iter().enumerate() {
                if *x > row[at] {
                    at = i;
                }
            }
            *best = at as i32;
        }
        Ok(())
    }
}

impl CpuKernel for Embedding {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [out], _) = io.split()?;
        let table = inputs.f32(0);
        for (target, &id) in out.chunks_exact_mut(self.width).zip(inputs.i32(1)) {
            let at = row(id, self.vocab, "token id")? * self.width;
            target.copy_from_slice(&table[at..at + self.width]);
        }
        Ok(())
    }
}

impl CpuKernel for EmbeddingGrad {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [out], _) = io.split()?;
        out.fill(0.0);
        for (dy, &id) in inputs.f32(0).chunks_exact(self.width).zip(inputs.i32(1)) {
            let at = row(id, self.vocab, "token id")? * self.width;
            out[at..at + self.width].iter_mut().zip(dy).for_each(|(d, dy)| *d += dy);
        }
        Ok(())
    }
}

impl Indexed {
    /// Calls `each(row of h, row of the index list)` for every index that is not -1, in order.
    fn visit(self, index: &[i32], mut each: impl FnMut(usize, usize)) -> Result<(), KernelError> {
        for (slot, &id) in index.iter().enumerate().take(self.batch * self.count) {
            if id != -1 {
                let batch = slot / self.count;
                each(batch * self.tokens + row(id, self.tokens, "position")?, slot);
            }
        }
        Ok(())
    }
}

impl CpuKernel for Gather {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [out], _) = io.split()?;
        let (h, w) = (inputs.f32(0), self.0.width);
        out.fill(0.0);
        self.0.visit(inputs.i32(1), |from, to| {
            out[to * w..(to + 1) * w].copy_from_slice(&h[from * w..(from + 1) * w]);
        })
    }
}

impl CpuKernel for Scatter {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [out], _) = io.split()?;
        inputs.take(0, out);
        let (rows, w) = (inputs.f32(2), self.0.width);
        let mode = self.1;
        self.0.visit(inputs.i32(1), |to, from| {
            let (target, source) = (&mut out[to * w..(to + 1) * w], &rows[from * w..(from + 1) * w]);
            match mode {
                ScatterMode::Set => target.copy_from_slice(source),
                ScatterMode::Add => target.iter_mut().zip(source).for_each(|(t, s)| *t += s),
            }
        })
    }
}
