//! Matrix products with fused epilogues, of `f32` and `bf16` operands in any mix and of quantized right ones, summed in `f32`.
//!
//! The right operand is packed into panels (in parallel, into the caller's scratch); then tasks own fixed blocks of
//! rows of `C`, and of columns where there are few rows. A task takes one strip of rows at a time through all
//! panels, and applies the epilogue to the strip while it is in the first-level cache. With few rows, or where many products
//! have not many rows each, every panel is used by one task only, which packs it where it is used, so that `B` is streamed once (`few`);
//! with tiles the few rows are packed instead, and `B` is read where it lies (`turned`). Packing widens `bf16`, but for
//! the processors that multiply pairs of it (`form`, `pairs`), and makes numbers of blocks (`blocks`); rows of a left operand in `f32` are
//! read in place, and columns of one laid side by side. Where sums are long and both operands lie along them, neither is packed (`inner`).
//!
//! An element of `C` is the same sum, whatever the number of threads, of rows and of columns: over `k` in order, one addition per
//! step, in blocks of [`DEPTH`] whose sums are added in order. In long sums every lane of a register has one of its own, and lanes are added at the end of
//! a block of at most [`LONG`]. Which of both it is follows from depth, transpositions and form alone.

mod blocks;
mod epilogue;
mod few;
mod form;
mod inner;
mod left;
mod pack;
mod pairs;
mod shape;
mod tile;
mod turned;

pub use blocks::Blocks;
pub use epilogue::Epilogue;
pub(crate) use pack::{pack_columns, packed_len};
pub use shape::Gemm;
pub(crate) use tile::{Left, Update, gemm_serial};

use std::mem::MaybeUninit;

use super::convert::convert_body;
use super::error::KernelError;
use crate::element::Element;
use crate::parallel::{self, SharedMut, chunk_range};
use crate::simd::{Simd, dispatch};
use epilogue::Shared;
use form::Form;
use left::Strip;
use pack::{PANEL, pack_rows};

/// Depth of the inner blocks: two panels of this depth and a strip of `A` fit the first-level cache. Even, as pairs are.
const DEPTH: usize = 512;
/// Depth of a block of an inner product at most: eight columns of it and four rows fit a first-level cache, and lanes are rarely added.
const LONG: usize = 768;
/// Columns of an inner block: with [`DEPTH`] it fits half of a second-level cache.
const WIDTH: usize = 256;
/// Rows that are taken through a panel at once: those of the largest tile of all instruction sets. Where tiles are half as tall, the
/// second one finds the panel in the first-level cache.
const STRIP: usize = 12;
/// Rows of a task at most.
const ROWS: usize = 96;

/// `C = epilogue(alpha op(A) op(B) + beta C)`, see [`Gemm`] for shapes and [`Epilogue`] for what can follow. Sums and
/// epilogue are `f32`; what `C` keeps is rounded once.
///
/// `scratch` holds [`Gemm::scratch_len`] values; its content does not matter before and means nothing after.
///
/// # Errors
/// Where a buffer is shorter than the shape needs, or a leading dimension is below its row.
pub fn gemm<A: Element, B: Element, C: Element>(
    p: &Gemm,
    a: &[A],
    b: &[B],
    c: &mut [C],
    epilogue: Epilogue<'_>,
    scratch: &mut [f32],
) -> Result<(), KernelError> {
    run(p, a, Right::Floats(b), c, epilogue, scratch, Form::of::<A, B>())
}

/// As [`gemm`], of a right operand in blocks: the product with the numbers that they stand for, bit for bit.
///
/// # Errors
/// As [`gemm`]; where stored rows of the right operand are no whole number of blocks.
pub fn gemm_blocks<A: Element, C: Element>(
    p: &Gemm,
    a: &[A],
    b: Blocks<'_>,
    c: &mut [C],
    epilogue: Epilogue<'_>,
    scratch: &mut [f32],
) -> Result<(), KernelError> {
    b.check(p)?;
    run(p, a, Right::<f32>::Blocks(b), c, epilogue, scratch, Form::Numbers)
}

/// A right operand.
#[derive(Clone, Copy)]
enum Right<'a, B> {
    Floats(&'a [B]),
    Blocks(Blocks<'a>),
}

impl<B> Right<'_, B> {
    /// Numbers that it has.
    fn len(self) -> usize {
        match self {
            Self::Floats(b) => b.len(),
            Self::Blocks(b) => b.len(),
        }
    }

    /// What follows the first `numbers` ones.
    fn behind(self, numbers: usize) -> Self {
        match self {
            Self::Floats(b) => Self::Floats(&b[numbers..]),
            Self::Blocks(b) => Self::Blocks(b.behind(numbers)),
        }
    }
}

/// The product, of operands in that form.
fn run<A: Element, B: Element, C: Element>(
    p: &Gemm,
    a: &[A],
    b: Right<'_, B>,
    c: &mut [C],
    epilogue: Epilogue<'_>,
    scratch: &mut [f32],
    form: Form,
) -> Result<(), KernelError> {
    p.check([a.len(), b.len(), c.len(), scratch.len()])?;
    let epilogue = epilogue.share(p)?;
    if p.m == 0 || p.n == 0 {
        return Ok(());
    }
    let c = SharedMut::new(c);
    let call = |i: usize| Call {
        p,
        a: &a[i * p.stride_a..],
        b: b.behind(i * p.stride_b),
        c,
        c_offset: i * p.stride_c,
        epilogue: &epilogue,
        form,
    };
    if inner::suits(p, form) {
        inner::all(p, call);
    } else if turned::suits(p, form) {
        turned::all(&call(0), scratch);
    } else if few::suits(p) {
        few::all(p, call);
    } else {
        (0..p.batch).for_each(|i| call(i).blocks(scratch));
    }
    Ok(())
}

/// One product of the batch.
struct Call<'a, A, B, C> {
    p: &'a Gemm,
    a: &'a [A],
    b: Right<'a, B>,
    c: SharedMut<'a, C>,
    c_offset: usize,
    epilogue: &'a Shared<'a>,
    form: Form,
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

impl<A: Element, B: Element, C: Element> Call<'_, A, B, C> {
    /// What to do with the old `C` at step `k` of the sums.
    fn update_at(&self, k: usize) -> Update {
        if k > 0 {
            Update::Add
        } else if self.p.beta == 0.0 {
            Update::Set
        } else {
            Update::Scale(self.p.beta)
        }
    }

    /// The general case: pack a block of `B`, then update all of `C` with it, block after block.
    fn blocks(&self, scratch: &mut [f32]) {
        let p = self.p;
        let (depth, width) = p.block(!C::WIDE);
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
        let out = SharedMut::new(scratch);
        let panels = cols.div_ceil(PANEL);
        let per_task = (32_768 / (depth * PANEL).max(1)).max(1);
        let len = self.form.steps(depth) * PANEL;
        parallel::for_each(panels.div_ceil(per_task), |task| {
            for panel in chunk_range(panels, per_task, task) {
                let j = panel * PANEL;
                // SAFETY: each panel has its own values of the scratch, which holds all panels.
                let dst = unsafe { out.slice(panel * len, len) };
                pack_task(self, first_k, depth, first_n + j, PANEL.min(cols - j), dst);
            }
        });
    }

    /// Updates the columns of one block, in tasks over rows, and over columns where rows are few.
    fn update(&self, block: Block<'_>) {
        let p = self.p;
        let work = (block.cols * block.depth).max(1);
        let strip = self.form.strip();
        let wanted = self.form.task_work();
        let rows = (wanted / work).next_multiple_of(strip).clamp(strip, ROWS);
        let row_tasks = p.m.div_ceil(rows);
        let col_tasks_wanted = if row_tasks >= 8 { 1 } else { 8_usize.div_ceil(row_tasks) };
        let min_cols = (wanted / (p.m.min(rows) * block.depth).max(1)).max(1);
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

dispatch!(
    fn pack_task<A, B, C>(
        call: &Call<'_, A, B, C>,
        first_k: usize,
        depth: usize,
        first_n: usize,
        cols: usize,
        dst: &mut [f32],
    ) = pack_panel
);

/// Packs one panel of at most [`PANEL`] columns.
#[inline(always)]
fn pack_panel<S: Simd, A: Element, B: Element, C: Element>(
    s: S,
    call: &Call<'_, A, B, C>,
    first_k: usize,
    depth: usize,
    first_n: usize,
    cols: usize,
    dst: &mut [f32],
) {
    let p = call.p;
    if depth == 0 {
        return;
    }
    let b = match call.b {
        Right::Floats(b) => b.as_ptr(),
        Right::Blocks(b) => return blocks::pack(b, p, [first_k, depth], [first_n, cols], dst),
    };
    // SAFETY: `check` saw that `B` holds all its rows and columns, and the block lies within it; a word has the size and
    // alignment of an `f32`, and any bits are a word.
    unsafe {
        if call.form != Form::Numbers {
            let (row, col) = if p.trans_b { (1, p.ldb) } else { (p.ldb, 1) };
            let src = b.add(first_k * row + first_n * col).cast();
            let dst = std::slice::from_raw_parts_mut(dst.as_mut_ptr().cast(), dst.len());
            pairs::pack(s, src, (row, col), depth, cols, dst);
        } else if p.trans_b {
            pack_columns(s, b.add(first_n * p.ldb + first_k), p.ldb, depth, cols, dst);
        } else {
            pack_rows(s, b.add(first_k * p.ldb + first_n), p.ldb, depth, cols, dst);
        }
    }
}

dispatch!(
    fn update_task<A, B, C>(
        call: &Call<'_, A, B, C>,
        block: Block<'_>,
        first_row: usize,
        rows: usize,
        first_col: usize,
        cols: usize,
    ) = update_body
);

/// Rows `first_row ..` and columns `first_col ..` (a multiple of the panel) of the block.
#[inline(always)]
fn update_body<S: Simd, A: Element, B: Element, C: Element>(
    s: S,
    call: &Call<'_, A, B, C>,
    block: Block<'_>,
    first_row: usize,
    rows: usize,
    first_col: usize,
    cols: usize,
) {
    let p = call.p;
    let panel_len = call.form.steps(block.depth) * PANEL;
    let mut strip = Strip::new(call.form);
    let mut sums = MaybeUninit::<[f32; ROWS * WIDTH]>::uninit();
    for j0 in (0..cols).step_by(WIDTH) {
        let width = WIDTH.min(cols - j0);
        let col = block.first_n + first_col + j0;
        let at = call.c_offset + first_row * p.ldc + col;
        // SAFETY: tasks own disjoint tiles of `C`, which `check` saw to exist; `rows <= ROWS`, `width <= WIDTH`.
        let sums = unsafe { Sums::of(s, call, at, rows, width, sums.as_mut_ptr().cast()) };
        let mut k0 = 0;
        loop {
            let depth = DEPTH.min(block.depth - k0);
            let last = block.first_k + k0 + depth >= p.k;
            for i0 in (0..rows).step_by(call.form.strip()) {
                let height = call.form.strip().min(rows - i0);
                // SAFETY: the strip of `A` exists by `check`, and is no taller than a tile.
                unsafe { strip.fill(s, call, first_row + i0, height, block.first_k + k0, depth) };
                for j in (j0..j0 + width).step_by(PANEL) {
                    let panel = (first_col + j) / PANEL;
                    let from = panel * panel_len + call.form.steps(k0) * PANEL;
                    // SAFETY: the panel has all rows of the block, padded; the tile of the sums exists.
                    unsafe {
                        let b = block.packed.as_ptr().add(from);
                        let c = sums.ptr.add(i0 * sums.stride + j - j0);
                        let n = PANEL.min(cols - j);
                        strip.times(
                            s,
                            call,
                            height,
                            n,
                            depth,
                            b,
                            c,
                            sums.stride,
                            call.update_at(block.first_k + k0),
                        );
                    }
                }
                if last {
                    for i in i0..i0 + height {
                        // SAFETY: this part of `C`, and of what is laid out like it, belongs to this task.
                        unsafe { sums.finish(s, call, i, at + i * p.ldc, col, width) };
                    }
                }
            }
            k0 += depth;
            if k0 >= block.depth {
                break;
            }
        }
    }
}

/// Where the sums of a tile of `C` are: in `C` itself, or beside it where `C` is narrower.
#[derive(Clone, Copy)]
struct Sums {
    ptr: *mut f32,
    stride: usize,
}

impl Sums {
    /// The sums of `rows` rows of `width` columns of `C` from element `at` on, in `beside` if need be, which then begins
    /// with the old `C` where that is wanted.
    ///
    /// # Safety
    /// The tile exists and is the caller's; `beside` has room for `rows` rows of [`WIDTH`].
    #[inline(always)]
    unsafe fn of<S: Simd, A: Element, B: Element, C: Element>(
        s: S,
        call: &Call<'_, A, B, C>,
        at: usize,
        rows: usize,
        width: usize,
        beside: *mut f32,
    ) -> Self {
        // SAFETY: by the contract of this function.
        unsafe {
            if C::WIDE {
                return Self { ptr: call.c.ptr().add(at).cast(), stride: call.p.ldc };
            }
            if call.p.beta != 0.0 {
                for i in 0..rows {
                    let old: &[C] = call.c.slice(at + i * call.p.ldc, width);
                    convert_body(s, old, std::slice::from_raw_parts_mut(beside.add(i * WIDTH), width));
                }
            }
            Self { ptr: beside, stride: WIDTH }
        }
    }

    /// The epilogue of row `i`, whose place in `C` is `at`, and rounding.
    ///
    /// # Safety
    /// Its sums are complete, and the row of `C`, and of what is laid out like it, is the caller's.
    #[inline(always)]
    unsafe fn finish<S: Simd, A: Element, B: Element, C: Element>(
        self,
        s: S,
        call: &Call<'_, A, B, C>,
        i: usize,
        at: usize,
        col: usize,
        width: usize,
    ) {
        // SAFETY: by the contract of this function.
        unsafe {
            let row = std::slice::from_raw_parts_mut(self.ptr.add(i * self.stride), width);
            call.epilogue.apply(s, row, at, col);
            if !C::WIDE {
                convert_body(s, row, call.c.slice(at, width));
            }
        }
    }
}

#[cfg(test)]
mod tests;
