//! `rope` to the kernel of that name, in place where the planner allows it.
//!
//! The kernel wants a table of cosines and sines. Positions nearly always lie in `0..T`: that table is made at the first
//! run and kept. Other positions (a single token far into a text) get a table of their own, one entry per row, in
//! scratch memory.

use std::sync::{Mutex, PoisonError};

use crossloom_ir::TensorType;
use crossloom_ir::op::Rope;

use crate::exec::io::{CpuKernel, Io, KernelError, Lowered};
use crate::kernels::{Mat, MatMut, RopeTable, rope, rope_in_place, rope_table};
use crate::parallel::{self, SharedMut, chunk_range};

struct RopeKernel {
    rows: usize,
    cols: usize,
    head_dim: usize,
    theta: f64,
    inverse: bool,
    table: Mutex<Table>,
    /// Angle per position of every pair.
    frequencies: Vec<f64>,
    /// `0..rows`, the entries of a table with one entry per row.
    every_row: Vec<i32>,
}

/// Cosines and sines of positions `0..T`.
struct Table {
    filled: bool,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

/// The kernel of a rotation or of its inverse.
pub(super) fn lower(op: &Rope, inputs: &[&TensorType]) -> Lowered {
    let (rows, half) = (inputs[1].elements(), op.head_dim / 2);
    let entries = inputs[0].shape[1] * half;
    let kernel = RopeKernel {
        rows,
        cols: inputs[0].last(),
        head_dim: op.head_dim,
        theta: op.theta,
        inverse: op.inverse,
        table: Mutex::new(Table { filled: false, cos: vec![0.0; entries], sin: vec![0.0; entries] }),
        frequencies: (0..half).map(|i| op.theta.powf(-2.0 * i as f64 / op.head_dim as f64)).collect(),
        every_row: (0..rows as i32).collect(),
    };
    Lowered::with_scratch("rope", rows * op.head_dim, kernel).in_place(vec![(0, 0)])
}

impl RopeKernel {
    /// Cosines and sines of each row's own position.
    fn fill_rows(&self, positions: &[i32], cos: &mut [f32], sin: &mut [f32]) {
        let half = self.head_dim / 2;
        let per_task = (4_096 / half.max(1)).max(1);
        let (cos, sin) = (SharedMut::new(cos), SharedMut::new(sin));
        parallel::for_each(self.rows.div_ceil(per_task), |task| {
            for row in chunk_range(self.rows, per_task, task) {
                // SAFETY: every row has its own entries, written by its task alone.
                let (cos, sin) = unsafe { (cos.slice(row * half, half), sin.slice(row * half, half)) };
                for ((c, s), frequency) in cos.iter_mut().zip(sin).zip(&self.frequencies) {
                    let (sine, cosine) = (f64::from(positions[row]) * frequency).sin_cos();
                    (*c, *s) = (cosine as f32, sine as f32);
                }
            }
        });
    }

    /// Turns `x`, or what `out` holds, by the table's entries.
    fn turn(
        &self,
        x: Option<&[f32]>,
        entries: &[i32],
        table: RopeTable<'_>,
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        let out = MatMut::new(out, self.rows, self.cols)?;
        match x {
            Some(x) => rope(Mat::new(x, self.rows, self.cols)?, entries, table, self.inverse, out)?,
            None => rope_in_place(out, entries, table, self.inverse)?,
        }
        Ok(())
    }
}

impl CpuKernel for RopeKernel {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [out], scratch) = io.split()?;
        let positions = inputs.i32(1);
        let x = (!inputs.is_taken(0)).then(|| inputs.f32(0));
        let (head_dim, half) = (self.head_dim, self.head_dim / 2);
        let mut guard = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let Table { filled, cos, sin } = &mut *guard;
        let count = cos.len() / half.max(1);
        if positions.iter().all(|&p| usize::try_from(p).is_ok_and(|p| p < count)) {
            if !*filled {
                rope_table(count, head_dim, self.theta, cos, sin)?;
                *filled = true;
            }
            return self.turn(x, positions, RopeTable { head_dim, cos, sin }, out);
        }
        let (cos, rest) = scratch.split_at_mut(self.rows * half);
        let sin = &mut rest[..self.rows * half];
        self.fill_rows(positions, cos, sin);
        self.turn(x, &self.every_row, RopeTable { head_dim, cos, sin }, out)
    }
}
