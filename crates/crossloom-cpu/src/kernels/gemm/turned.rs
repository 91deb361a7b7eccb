//! Products of few rows of `bf16` with tiles: the operands change places. Rows of a right operand that is stored `[n, k]`, as weights are,
//! are read where they lie, and the few rows of `A` are laid out as a panel, once for all tasks, so that decoding streams its weights and copies
//! none.
//! Products commute and runs of pairs are those of [`pairs::product`], so that sums have its bits.

use std::mem::MaybeUninit;

use super::few::{TASK_VALUES, columns_of_task};
use super::form::Form;
use super::pairs;
use super::shape::Gemm;
use super::tile::Update;
use super::{Call, DEPTH, ROWS, Right, Sums, WIDTH};
use crate::amx::{self, SIDE, Tiles};
use crate::element::Element;
use crate::parallel::{self, chunk_range};
use crate::simd::{Simd, dispatch};

// The rows of `A` fit a block of the sums beside `C`.
const _: () = assert!(SIDE <= ROWS);

/// Whether a product is computed so: no tile reads rows or columns that are not there. Of many products the panels would wait for each other.
pub(super) fn suits(p: &Gemm, form: Form) -> bool {
    let whole = p.k > 0 && amx::are_whole(p.n, p.k);
    form == Form::Tiles
        && p.batch == 1
        && p.trans_b
        && p.m <= SIDE
        && whole
        && panel_len(p) <= p.scratch_len()
}

/// Words of the panel, one row of [`SIDE`] for every pair.
fn panel_len(p: &Gemm) -> usize {
    p.k / 2 * SIDE
}

/// The product. Tasks own columns; `scratch` has the panel.
pub(super) fn all<A: Element, B: Element, C: Element>(call: &Call<'_, A, B, C>, scratch: &mut [f32]) {
    let p = call.p;
    let panel: &mut [u32] = bytemuck::cast_slice_mut(&mut scratch[..panel_len(p)]);
    lay_panel(call, panel);
    let panel = &*panel;
    let cols = columns_of_task(p, TASK_VALUES, SIDE);
    parallel::for_each(p.n.div_ceil(cols), |task| {
        let r = chunk_range(p.n, cols, task);
        turned_task(call, panel, r.start, r.len());
    });
}

dispatch!(fn lay_panel<A, B, C>(call: &Call<'_, A, B, C>, panel: &mut [u32]) = lay_panel_body);

/// Lays out all rows of `A`, turned.
#[inline(always)]
fn lay_panel_body<S: Simd, A: Element, B: Element, C: Element>(
    s: S,
    call: &Call<'_, A, B, C>,
    panel: &mut [u32],
) {
    let p = call.p;
    let strides = if p.trans_a { (p.lda, 1) } else { (1, p.lda) };
    // SAFETY: the panel is that long; `A` has these rows and columns by `check`, and is of `bf16` in this form.
    unsafe { pairs::pack(s, call.a.as_ptr().cast(), strides, p.k, p.m, panel) };
}

dispatch!(
    fn turned_task<A, B, C>(call: &Call<'_, A, B, C>, panel: &[u32], first: usize, cols: usize) = turned_body
);

/// Columns `first .. first + cols` of `C`, depth by depth.
#[inline(always)]
fn turned_body<S: Simd, A: Element, B: Element, C: Element>(
    s: S,
    call: &Call<'_, A, B, C>,
    panel: &[u32],
    first: usize,
    cols: usize,
) {
    let p = call.p;
    let Right::Floats(b) = call.b else { return };
    // SAFETY: the form is chosen where there are tiles.
    let tiles = unsafe { Tiles::configured() };
    let mut block = [0.0; SIDE * SIDE];
    let mut sums = MaybeUninit::<[f32; ROWS * WIDTH]>::uninit();
    let at = call.c_offset + first;
    // SAFETY: tasks own disjoint columns of `C`, which `check` saw to exist; `m <= ROWS`, `cols <= WIDTH`.
    let sums = unsafe { Sums::of(s, call, at, p.m, cols, sums.as_mut_ptr().cast()) };
    for k in (0..p.k).step_by(DEPTH) {
        let depth = DEPTH.min(p.k - k);
        let (words, panel) = (depth / 2, &panel[k / 2 * SIDE..]);
        for j in (0..cols).step_by(SIDE) {
            let rows = SIDE.min(cols - j);
            // SAFETY: `B` is of `bf16` in this form and has these rows, by sixteens, of this depth, by runs; the tile of the sums exists.
            unsafe {
                let b = b.as_ptr().add((first + j) * p.ldb + k).cast();
                let b = (b, size_of::<B>() * p.ldb);
                if rows == SIDE && p.m <= SIDE / 2 {
                    tiles.narrow_product(words, b, panel.as_ptr(), &mut block);
                } else {
                    tiles.product(words, b, rows > SIDE / 2, panel.as_ptr(), &mut block);
                }
                lay(&block, p.m, rows, sums.ptr.add(j), sums.stride, p.alpha, call.update_at(k));
            }
        }
    }
    for i in 0..p.m {
        // SAFETY: the sums are complete, and these columns belong to this task.
        unsafe { sums.finish(s, call, i, at + i * p.ldc, first, cols) };
    }
}

/// Writes a block of sums whose rows are columns of `C`.
///
/// # Safety
/// `c` has `m` rows of `cols` values, `ldc` apart, which nobody else touches.
#[inline(always)]
unsafe fn lay(
    block: &amx::Block,
    m: usize,
    cols: usize,
    c: *mut f32,
    ldc: usize,
    alpha: f32,
    update: Update,
) {
    for i in 0..m {
        for (j, sums) in block.as_chunks::<SIDE>().0.iter().take(cols).enumerate() {
            // SAFETY: the value is in the tile.
            unsafe { update.put(alpha * sums[i], c.add(i * ldc + j)) };
        }
    }
}
