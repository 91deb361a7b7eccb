//! A strip of rows of the left operand, as the tile reads it.

use std::mem::MaybeUninit;

use super::form::{Form, STRIP_MEMORY};
use super::tile::{Left, Update, gemm_serial};
use super::{Call, LONG, PANEL, STRIP, pairs};
use crate::amx::{self, Tiles};
use crate::element::Element;
use crate::kernels::convert::convert_body;
use crate::simd::{Simd, Vf};

/// Rows of `A`, as many as a strip of its form has, and at most [`LONG`] columns (of pairs [`DEPTH`](super::DEPTH)): where they lie (rows of `f32`, and of pairs for whole
/// tiles), turned, widened, or in pairs.
pub(super) struct Strip {
    memory: MaybeUninit<[f32; STRIP_MEMORY]>,
    left: Left,
    /// Where pairs are, and from one row's to the next the bytes.
    pairs: (*const u32, usize),
    tiles: Option<Tiles>,
}

impl Strip {
    /// An empty strip of that form. Tiles are configured as long as it lives.
    #[inline(always)]
    pub(super) fn new(form: Form) -> Self {
        // SAFETY: the form is chosen where there are tiles.
        let tiles = (form == Form::Tiles).then(|| unsafe { Tiles::configured() });
        let left = Left { ptr: std::ptr::null(), row: 0, col: 0 };
        Self { memory: MaybeUninit::uninit(), left, pairs: (std::ptr::null(), 0), tiles }
    }

    /// Takes rows `first .. first + rows` and columns `k .. k + depth` of `A`.
    ///
    /// # Safety
    /// They exist (or `depth` is 0), `rows` is at most a strip's, `depth` at most [`LONG`], and of pairs [`DEPTH`](super::DEPTH).
    #[inline(always)]
    pub(super) unsafe fn fill<S: Simd, A: Element, B: Element, C: Element>(
        &mut self,
        s: S,
        call: &Call<'_, A, B, C>,
        first: usize,
        rows: usize,
        k: usize,
        depth: usize,
    ) {
        let p = call.p;
        let (row, col) = if p.trans_a { (1, p.lda) } else { (p.lda, 1) };
        let memory = self.memory.as_mut_ptr().cast::<f32>();
        // SAFETY: by the contract of this function; the memory has room for a strip of any form.
        unsafe {
            let src = call.a.as_ptr().wrapping_add(first * row + k * col);
            if call.form == Form::Tiles && !p.trans_a && amx::are_whole(rows, depth) {
                self.pairs = (src.cast(), size_of::<A>() * p.lda);
            } else if call.form != Form::Numbers {
                let words = call.form.steps(depth);
                pairs::pack_left(src.cast(), (row, col), rows, depth, words, memory.cast());
                self.pairs = (memory.cast(), size_of::<u32>() * words);
            } else if p.trans_a {
                let behind = call.a.len().saturating_sub(first + k * col);
                turn(s, src, p.lda, behind, rows, depth, memory);
                self.left = Left { ptr: memory, row: 1, col: STRIP };
            } else if A::WIDE {
                self.left = Left { ptr: src.cast(), row, col };
            } else {
                for i in 0..rows {
                    let from = std::slice::from_raw_parts(src.add(i * p.lda), depth);
                    convert_body(s, from, std::slice::from_raw_parts_mut(memory.add(i * LONG), depth));
                }
                self.left = Left { ptr: memory, row: LONG, col: 1 };
            }
        }
    }

    /// Its columns from `q` on, of a strip of numbers.
    ///
    /// # Safety
    /// It was filled to a depth of more than `q`.
    #[inline(always)]
    pub(super) unsafe fn behind(&self, q: usize) -> Left {
        // SAFETY: column `q` exists, by the caller's promise.
        Left { ptr: unsafe { self.left.ptr.add(q * self.left.col) }, ..self.left }
    }

    /// `C = alpha (this strip) B + update(C)`, for `cols` columns of one panel.
    ///
    /// # Safety
    /// The strip was filled with `rows` rows and `depth` columns; `b` has as many packed rows; `c` has `rows` rows of
    /// `cols` values, `ldc` apart, which nobody else touches.
    #[inline(always)]
    pub(super) unsafe fn times<S: Simd, A: Element, B: Element, C: Element>(
        &self,
        s: S,
        call: &Call<'_, A, B, C>,
        rows: usize,
        cols: usize,
        depth: usize,
        b: *const f32,
        c: *mut f32,
        ldc: usize,
        update: Update,
    ) {
        let alpha = call.p.alpha;
        // SAFETY: by the contract of this function.
        unsafe {
            if call.form == Form::Numbers {
                gemm_serial::<S, true>(s, rows, cols, depth, self.left, b, PANEL, c, ldc, alpha, update);
            } else {
                let words = call.form.steps(depth);
                pairs::product(
                    self.tiles.as_ref(),
                    rows,
                    cols,
                    words,
                    self.pairs,
                    b.cast(),
                    c,
                    ldc,
                    alpha,
                    update,
                );
            }
        }
    }
}

/// Copies `rows` columns of `depth` rows that are `ld` apart into rows of [`STRIP`] values: what a strip of a transposed operand
/// reads one after the other lies side by side then, and not in a cache line each.
///
/// # Safety
/// `rows` elements are readable from `src + q * ld` for `q < depth`, and `len` from `src` on; `rows <= STRIP`; `to` has room for
/// `depth` rows.
#[inline(always)]
unsafe fn turn<S: Simd, A: Element>(
    s: S,
    src: *const A,
    ld: usize,
    len: usize,
    rows: usize,
    depth: usize,
    to: *mut f32,
) {
    let lanes = S::F32_LANES;
    for q in 0..depth {
        for i in (0..rows).step_by(lanes) {
            let at = q * ld + i;
            // SAFETY: a whole register is read where the operand has one, and written where rows follow, which overwrite what is
            // too much; else no more than there is.
            unsafe {
                let to = to.add(q * STRIP + i);
                if at + lanes <= len && (q + 1) * STRIP + lanes <= depth * STRIP {
                    Vf::load_ptr(s, src.add(at)).store_ptr(to);
                } else {
                    Vf::load_first(s, src.add(at), rows - i).store_first(to, rows - i);
                }
            }
        }
    }
}
