//! Matrix products with fused epilogues.
//!
//! The right operand is packed into panels (in parallel, into the caller's scratch); then tasks own fixed blocks of
//! rows of `C`, and of columns where there are few rows. A task takes one strip of rows at a time through all
//! panels, and applies the epilogue to the strip while it is in the first-level cache. The left operand is read in
//! place. Sums run over `k` in order, in blocks of fixed depth, by one task: the result does not depend on the number
//! of threads.

mod epilogue;
mod pack;
mod shape;
mod tile;

pub use epilogue::Epilogue;
pub(crate) use pack::{pack_columns, packed_len};
pub use shape::Gemm;
pub(crate) use tile::{Left, Update, gemm_serial};

use super::error::KernelError;
use crate::parallel::{self, SharedMut, chunk_range};
use crate::simd::{self, Simd, dispatch};
use epilogue::Shared;
use pack::{PANEL, pack_rows};
use tile::tile_rows;

/// Depth of the inner blocks: two panels of this depth and a strip of `A` fit the first-level cache.
const DEPTH: usize = 512;
/// Columns of an inner block: with [`DEPTH`] it fits half of a second-level cache.
const WIDTH: usize = 256;
/// Multiply-adds of one task at least, about 20 microseconds.
const TASK_WORK: usize = 1 << 20;
/// Up to this many rows, a product with a transposed right operand is done as dot products, without packing.
const FEW_ROWS: usize = 4;
/// Weight rows of one task in the dot product form.
const DOT_COLUMNS: usize = 64;

/// `C = epilogue(alpha op(A) op(B) + beta C)`, see [`Gemm`] for shapes and [`Epilogue`] for what can follow.
///
/// `scratch` holds [`Gemm::scratch_len`] values; its content does not matter before and means nothing after.
///
/// # Errors
/// Where a buffer is shorter than the shape needs, or a leading dimension is below its row.
pub fn gemm(
    p: &Gemm,
    a: &[f32],
    b: &[f32],
    c: &mut [f32],
    epilogue: Epilogue<'_>,
    scratch: &mut [f32],
) -> Result<(), KernelError> {
    p.check(a, b, c, scratch)?;
    let epilogue = epilogue.share(p)?;
    if p.m == 0 || p.n == 0 {
        return Ok(());
    }
    let c = SharedMut::new(c);
    for i in 0..p.batch {
        let call = Call {
            p,
            a: &a[i * p.stride_a..],
            b: &b[i * p.stride_b..],
            c,
            c_offset: i * p.stride_c,
            epilogue: &epilogue,
        };
        if p.trans_b && !p.trans_a && p.m <= FEW_ROWS {
            call.dots();
        } else {
            call.blocks(scratch);
        }
    }
    Ok(())
}

/// One product of the batch.
struct Call<'a> {
    p: &'a Gemm,
    a: &'a [f32],
    b: &'a [f32],
    c: SharedMut<'a>,
    c_offset: usize,
    epilogue: &'a Shared<'a>,
}

/// One packed block of `B`: its place in the whole product.
#[derive(Clone, Copy)]
struct Block<'a> {
    packed: &'a [f32],
    depth: usize,
    first_k: usize,
    first_n: usize,
    cols: usize,
}

impl Call<'_> {
    /// Few rows: each task takes some rows of the transposed right operand.
    fn dots(&self) {
        parallel::for_each(self.p.n.div_ceil(DOT_COLUMNS), |task| {
            let r = chunk_range(self.p.n, DOT_COLUMNS, task);
            dots_task(self, r.start, r.len());
        });
    }

    /// The general case: pack a block of `B`, then update all of `C` with it, block after block.
    fn blocks(&self, scratch: &mut [f32]) {
        let p = self.p;
        let (depth, width) = p.block();
        for first_n in (0..p.n).step_by(width.max(1)) {
            let cols = width.min(p.n - first_n);
            let mut first_k = 0;
            loop {
                let depth = depth.min(p.k - first_k);
                self.pack(first_k, depth, first_n, cols, scratch);
                let block = Block { packed: scratch, depth, first_k, first_n, cols };
                self.update(block);
                first_k += depth;
                if first_k >= p.k {
                    break;
                }
            }
        }
    }

    /// Packs one block, panel by panel.
    fn pack(&self, first_k: usize, depth: usize, first_n: usize, cols: usize, scratch: &mut [f32]) {
        let p = self.p;
        let out = SharedMut::new(scratch);
        let panels = cols.div_ceil(PANEL);
        let per_task = (32_768 / (depth * PANEL).max(1)).max(1);
        parallel::for_each(panels.div_ceil(per_task), |task| {
            for panel in chunk_range(panels, per_task, task) {
                let j = panel * PANEL;
                let width = PANEL.min(cols - j);
                // SAFETY: each panel has its own `depth * PANEL` values of the scratch, which holds all panels.
                let dst = unsafe { out.slice(panel * depth * PANEL, depth * PANEL) };
                if depth == 0 {
                    continue;
                }
                // SAFETY: `check` saw that `B` holds all its rows and columns, and the block lies within it.
                unsafe {
                    if p.trans_b {
                        let src = self.b.as_ptr().add((first_n + j) * p.ldb + first_k);
                        pack_columns(src, p.ldb, depth, width, dst);
                    } else {
                        let src = self.b.as_ptr().add(first_k * p.ldb + first_n + j);
                        pack_rows(src, p.ldb, depth, width, dst);
                    }
                }
            }
        });
    }

    /// Updates the columns of one block, in tasks over rows, and over columns where rows are few.
    fn update(&self, block: Block<'_>) {
        let p = self.p;
        let strip = 12;
        let work = (block.cols * block.depth).max(1);
        let rows = (TASK_WORK / work).next_multiple_of(strip).clamp(strip, 96);
        let row_tasks = p.m.div_ceil(rows);
        let col_tasks_wanted = if row_tasks >= 8 { 1 } else { 8_usize.div_ceil(row_tasks) };
        let min_cols = (TASK_WORK / (p.m.min(rows) * block.depth).max(1)).max(1);
        let cols = block
            .cols
            .div_ceil(col_tasks_wanted)
            .max(min_cols)
            .next_multiple_of(PANEL)
            .min(block.cols.max(1));
        let col_tasks = block.cols.div_ceil(cols);
        parallel::for_each(row_tasks * col_tasks, |task| {
            let r = chunk_range(p.m, rows, task / col_tasks);
            let columns = chunk_range(block.cols, cols, task % col_tasks);
            update_task(self, block, r.start, r.len(), columns.start, columns.len());
        });
    }
}

dispatch!(fn dots_task(call: &Call<'_>, first: usize, count: usize) = dots_body);

/// Columns `first .. first + count` of `C`, each a dot product per row.
#[inline(always)]
fn dots_body<S: Simd>(s: S, call: &Call<'_>, first: usize, count: usize) {
    let p = call.p;
    for i in 0..p.m {
        let a = &call.a[i * p.lda..i * p.lda + p.k];
        let offset = call.c_offset + i * p.ldc + first;
        // SAFETY: tasks own disjoint columns, and `check` saw that `C` holds them.
        let c = unsafe { call.c.slice(offset, count) };
        for (j, c) in c.iter_mut().enumerate() {
            let from = (first + j) * p.ldb;
            let product = p.alpha * simd::dot(s, a, &call.b[from..from + p.k]);
            *c = if p.beta == 0.0 { product } else { p.beta * *c + product };
        }
        // SAFETY: the second output is laid out like `C`, so this part belongs to this task.
        unsafe { call.epilogue.apply(s, c, offset, first) };
    }
}

dispatch!(
    fn update_task(
        call: &Call<'_>,
        block: Block<'_>,
        first_row: usize,
        rows: usize,
        first_col: usize,
        cols: usize,
    ) = update_body
);

/// Rows `first_row ..` and columns `first_col ..` (a multiple of the panel) of the block.
#[inline(always)]
fn update_body<S: Simd>(
    s: S,
    call: &Call<'_>,
    block: Block<'_>,
    first_row: usize,
    rows: usize,
    first_col: usize,
    cols: usize,
) {
    let p = call.p;
    let strip = tile_rows::<S>();
    let (a_row, a_col) = if p.trans_a { (1, p.lda) } else { (p.lda, 1) };
    let last = block.first_k + block.depth >= p.k;
    let mut k0 = 0;
    loop {
        let depth = DEPTH.min(block.depth - k0);
        let last = last && k0 + depth >= block.depth;
        let update = if block.first_k + k0 > 0 {
            Update::Add
        } else if p.beta == 0.0 {
            Update::Set
        } else {
            Update::Scale(p.beta)
        };
        for j0 in (0..cols).step_by(WIDTH) {
            let width = WIDTH.min(cols - j0);
            for i0 in (0..rows).step_by(strip) {
                let height = strip.min(rows - i0);
                let row = first_row + i0;
                let a = Left {
                    // SAFETY: the strip starts at an element of `A`, by `check` (or `k` is 0 and nothing is read).
                    ptr: unsafe { call.a.as_ptr().add(row * a_row + (block.first_k + k0) * a_col) },
                    row: a_row,
                    col: a_col,
                };
                for j in (j0..j0 + width).step_by(PANEL) {
                    let n = PANEL.min(cols - j);
                    let panel = (first_col + j) / PANEL;
                    let at = call.c_offset + row * p.ldc + block.first_n + first_col + j;
                    // SAFETY: the strip of `A` and the tile of `C` exist by `check`; the panel has `block.depth` rows
                    // of `PANEL` padded values; tasks own disjoint tiles of `C`.
                    unsafe {
                        let b = block.packed.as_ptr().add((panel * block.depth + k0) * PANEL);
                        gemm_serial::<S, true>(
                            s,
                            height,
                            n,
                            depth,
                            a,
                            b,
                            PANEL,
                            call.c.ptr().add(at),
                            p.ldc,
                            p.alpha,
                            update,
                        );
                    }
                }
                if last {
                    for i in 0..height {
                        let col = block.first_n + first_col + j0;
                        let at = call.c_offset + (row + i) * p.ldc + col;
                        // SAFETY: this part of `C`, and of what is laid out like it, belongs to this task.
                        unsafe { call.epilogue.apply(s, call.c.slice(at, width), at, col) };
                    }
                }
            }
        }
        k0 += depth;
        if k0 >= block.depth {
            break;
        }
    }
}

#[cfg(test)]
mod tests;
