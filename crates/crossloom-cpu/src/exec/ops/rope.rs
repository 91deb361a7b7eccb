//! `rope` to the kernel of that name, in place where the planner allows it.
//!
//! The kernel wants a table of cosines and sines. Positions nearly always lie in `0..T`: that table is made when the
//! kernel is bound, once for all rotations of an executable that have the same. Other positions (a single token far into a
//! text) get a table of their own, one entry per row, in scratch memory; so do positions of several numbers, whose entries are
//! put together of those of each number.

use std::collections::BTreeMap;
use std::sync::Arc;

use crossloom_ir::TensorType;
use crossloom_ir::op::Rope;

use crate::element::{Element, Floats, FloatsMut};
use crate::exec::io::{CpuKernel, Io, Lowered, typed};
use crate::kernels::{KernelError, Mat, MatMut, RopeTable, rope, rope_in_place, rope_table};
use crate::parallel::{self, SharedMut, chunk_range};

struct RopeKernel {
    rows: usize,
    cols: usize,
    head_dim: usize,
    inverse: bool,
    table: Arc<Table>,
    /// Which of its position's numbers turns every pair, and how many there are.
    axes: (Vec<usize>, usize),
    /// `0..rows`, the entries of a table with one entry per row.
    every_row: Vec<i32>,
}

/// Cosines and sines of positions `0..count`.
struct Table {
    count: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
    /// Angle per position of every pair.
    frequencies: Vec<f64>,
}

impl Table {
    /// Cosine and sine of any position for a pair.
    fn entry(&self, position: i32, pair: usize) -> (f32, f32) {
        match usize::try_from(position) {
            Ok(known) if known < self.count => {
                let at = known * self.frequencies.len() + pair;
                (self.cos[at], self.sin[at])
            }
            _ => {
                let (sine, cosine) = (f64::from(position) * self.frequencies[pair]).sin_cos();
                (cosine as f32, sine as f32)
            }
        }
    }
}

/// The tables that kernels of one executable share, by number of positions, width of a head and bits of the base.
#[derive(Default)]
pub(in crate::exec) struct Tables(BTreeMap<(usize, usize, u64), Arc<Table>>);

impl Tables {
    fn rope(&mut self, count: usize, head_dim: usize, theta: f64) -> Result<Arc<Table>, KernelError> {
        let key = (count, head_dim, theta.to_bits());
        if let Some(table) = self.0.get(&key) {
            return Ok(Arc::clone(table));
        }
        let half = head_dim / 2;
        let (mut cos, mut sin) = (vec![0.0; count * half], vec![0.0; count * half]);
        rope_table(count, head_dim, theta, &mut cos, &mut sin)?;
        let frequencies = (0..half).map(|i| theta.powf(-2.0 * i as f64 / head_dim as f64)).collect();
        let table = Arc::new(Table { count, cos, sin, frequencies });
        self.0.insert(key, Arc::clone(&table));
        Ok(table)
    }
}

/// The kernel of a rotation or of its inverse.
pub(super) fn lower(op: &Rope, inputs: &[&TensorType]) -> Lowered {
    let (rows, cols, count) = (inputs[0].rows(), inputs[0].last(), inputs[0].shape[1]);
    let Rope { head_dim, theta, inverse, .. } = *op;
    let axes: (Vec<usize>, usize) = ((0..head_dim / 2).map(|pair| op.axis(pair)).collect(), op.axes());
    let bind = move |tables: &mut Tables| {
        let table = tables.rope(count, head_dim, theta)?;
        let every_row = (0..rows as i32).collect();
        Ok(RopeKernel { rows, cols, head_dim, inverse, table, axes, every_row })
    };
    let lowered = Lowered::with_tables("rope", rows * head_dim, bind).in_place(vec![(0, 0)]);
    lowered.floats(&[0], &[0]).ints(&[1], &[])
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
                let (of_pair, axes) = &self.axes;
                let position = &positions[row * axes..(row + 1) * axes];
                for (pair, (c, s)) in cos.iter_mut().zip(sin).enumerate() {
                    (*c, *s) = self.table.entry(position[of_pair[pair]], pair);
                }
            }
        });
    }

    /// Turns `x`, or what `out` holds, by the table's entries.
    fn turn<X: Element, Y: Element>(
        &self,
        x: Option<&[X]>,
        entries: &[i32],
        table: RopeTable<'_>,
        out: &mut [Y],
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
        let (inputs, [out], scratch) = io.take()?;
        let positions = inputs.i32(1)?;
        let (head_dim, half) = (self.head_dim, self.head_dim / 2);
        let Table { count, cos, sin, .. } = &*self.table;
        let (entries, cos, sin): (_, &[f32], &[f32]) =
            if self.axes.1 == 1 && positions.iter().all(|&p| usize::try_from(p).is_ok_and(|p| p < *count)) {
                (positions, cos, sin)
            } else {
                let (cos, rest) = scratch.split_at_mut(self.rows * half);
                let sin = &mut rest[..self.rows * half];
                self.fill_rows(positions, cos, sin);
                (&self.every_row, cos, sin)
            };
        let table = RopeTable { head_dim, cos, sin };
        typed!(
            x: Floats = inputs.floats(0)?, out: FloatsMut = out.floats()?;
            self.turn((!inputs.is_taken(0)).then_some(x), entries, table, out)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Planning asks for a kernel several times per instruction; that must not make tables.
    #[test]
    fn rotations_alike_share_one_table() {
        let mut tables = Tables::default();
        let types = [TensorType::f32([2, 8, 12]), TensorType::i32([2, 8])];
        let types: Vec<&TensorType> = types.iter().collect();
        for inverse in [false, true] {
            for theta in [100.0, 100.0, 10.0] {
                let lowered = lower(&Rope { head_dim: 6, theta, inverse, sections: None }, &types);
                assert!(lowered.bind(&mut tables).is_ok());
            }
        }
        let keys: Vec<_> = tables.0.keys().copied().collect();
        assert_eq!(keys, [(8, 6, 10.0_f64.to_bits()), (8, 6, 100.0_f64.to_bits())]);
        // One owner here, and the kernels are gone.
        assert!(tables.0.values().all(|table| Arc::strong_count(table) == 1));
        assert_eq!(
            lower(&Rope { head_dim: 6, theta: 1.0, inverse: false, sections: None }, &types).scratch,
            4 * 16 * 6
        );
        assert_eq!(tables.0.len(), 2);
    }
}
