//! A tile of queries on its way through the keys, as whole sequences and a cache have it: buffers, running softmax and
//! products.

use std::mem::MaybeUninit;

use super::{KEYS, MAX_HEAD_DIM, QUERIES, SCORES};
use crate::kernels::convert::convert_body;
use crate::kernels::float_mat::{FloatMat, FloatMatMut};
use crate::kernels::gemm::{Left, Update, gemm_serial, pack_columns};
use crate::math::exp_v;
use crate::simd::{self, Simd, Vf, update0};

/// Where the running maximum starts: low, but finite, so that masked scores of minus infinity give probability zero.
const LOW: f32 = -1e30;

/// A tile's rows of a head, in `f32`, on the stack; written before they are read.
pub(super) type Heads = MaybeUninit<[f32; QUERIES * MAX_HEAD_DIM]>;
/// A tile's scores, on the stack; written before they are read.
pub(super) type Scores = MaybeUninit<[f32; QUERIES * SCORES]>;
/// Room for a block of keys or values that is widened where it is used.
pub(super) type Room = MaybeUninit<[f32; KEYS * MAX_HEAD_DIM]>;

/// The buffers of a tile.
pub(super) struct Tile {
    queries: Heads,
    scores: Scores,
    out: Heads,
    room: Room,
}

impl Tile {
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self {
            queries: MaybeUninit::uninit(),
            scores: MaybeUninit::uninit(),
            out: MaybeUninit::uninit(),
            room: MaybeUninit::uninit(),
        }
    }
}

/// Widens `rows` rows of a head into a buffer, `[rows, hd]`; row `i` starts at `at(i)`, a row and a column of `x`.
#[inline(always)]
pub(super) fn widen_rows<S: Simd>(
    s: S,
    x: FloatMat<'_>,
    (rows, hd): (usize, usize),
    at: impl Fn(usize) -> (usize, usize),
    buffer: &mut Heads,
) -> *mut f32 {
    debug_assert!(rows <= QUERIES && hd <= MAX_HEAD_DIM);
    let to = buffer.as_mut_ptr().cast::<f32>();
    for i in 0..rows {
        let (row, col) = at(i);
        // SAFETY: the buffer has `QUERIES` rows of `MAX_HEAD_DIM` values, and there are no more.
        x.widen(s, row, col, unsafe { std::slice::from_raw_parts_mut(to.add(i * hd), hd) });
    }
    to
}

/// Packs the transpose of at most 32 rows from `row` and `head_dim` columns from `col` on: `[head_dim, 32]`, zero-padded.
///
/// # Safety
/// Those rows and columns exist, and `out` has room for a block.
#[inline(always)]
pub(super) unsafe fn pack_block<S: Simd>(
    s: S,
    x: FloatMat<'_>,
    (row, col): (usize, usize),
    rows: usize,
    head_dim: usize,
    out: &mut [f32],
) {
    // SAFETY: by the contract of this function.
    unsafe {
        match x {
            FloatMat::F32(x) => {
                let from = x.ptr().add(row * x.row_stride() + col);
                pack_columns(s, from, x.row_stride(), head_dim, rows, out);
            }
            FloatMat::Bf16(x) => {
                let from = x.ptr().add(row * x.row_stride() + col);
                pack_columns(s, from, x.row_stride(), head_dim, rows, out);
            }
        }
    }
}

/// `out [rows, hd] = left [rows, count] x`, or that added to the sums in `out`, where `x` are `count` rows and `hd` columns
/// of a matrix from `(row, col)` on. Narrow ones are widened block by block, which leaves the order of the sums.
///
/// # Safety
/// Those rows and columns exist; `left` and `out` have their sizes, and nobody else touches `out`.
#[inline(always)]
pub(super) unsafe fn add_product<S: Simd>(
    s: S,
    (rows, hd): (usize, usize),
    left: Left,
    x: FloatMat<'_>,
    (row, col): (usize, usize),
    count: usize,
    room: &mut Room,
    out: *mut f32,
    mut update: Update,
) {
    // SAFETY: by the contract of this function; the room holds a block.
    unsafe {
        match x {
            FloatMat::F32(x) => {
                let from = x.ptr().add(row * x.row_stride() + col);
                gemm_serial::<S, false>(s, rows, hd, count, left, from, x.row_stride(), out, hd, 1.0, update);
            }
            FloatMat::Bf16(x) => {
                let room = room.as_mut_ptr().cast::<f32>();
                for first in (0..count).step_by(KEYS) {
                    let keys = KEYS.min(count - first);
                    for i in 0..keys {
                        let from = &x.row(row + first + i)[col..col + hd];
                        convert_body(s, from, std::slice::from_raw_parts_mut(room.add(i * hd), hd));
                    }
                    let left = Left { ptr: left.ptr.add(first * left.col), ..left };
                    gemm_serial::<S, false>(s, rows, hd, keys, left, room, hd, out, hd, 1.0, update);
                    update = Update::Continue;
                }
            }
        }
    }
}

/// A tile of at most [`QUERIES`] rows of one head on its way through the keys.
pub(super) struct Walk<'t> {
    tile: &'t mut Tile,
    rows: usize,
    hd: usize,
    highest: [f32; QUERIES],
    total: [f32; QUERIES],
    /// Nothing has been seen.
    fresh: bool,
}

impl<'t> Walk<'t> {
    /// Takes the queries: row `i` of the tile starts at `at(i)`, a row and a column of `q`.
    #[inline(always)]
    pub(super) fn start<S: Simd>(
        s: S,
        tile: &'t mut Tile,
        q: FloatMat<'_>,
        (rows, hd): (usize, usize),
        at: impl Fn(usize) -> (usize, usize),
    ) -> Self {
        widen_rows(s, q, (rows, hd), at, &mut tile.queries);
        Self { tile, rows, hd, highest: [LOW; QUERIES], total: [0.0; QUERIES], fresh: true }
    }

    fn scores(&mut self) -> *mut f32 {
        self.tile.scores.as_mut_ptr().cast()
    }

    fn out(&mut self) -> *mut f32 {
        self.tile.out.as_mut_ptr().cast()
    }

    /// The scores of a block of keys go to slot `slot`.
    ///
    /// # Safety
    /// The block is packed, see [`pack_block`], and there is such a slot.
    #[inline(always)]
    pub(super) unsafe fn score<S: Simd>(&mut self, s: S, block: &[f32], slot: usize, scale: f32) {
        let (rows, hd) = (self.rows, self.hd);
        let left = Left { ptr: self.tile.queries.as_ptr().cast(), row: hd, col: 1 };
        // SAFETY: the block is `[hd, 32]`; the buffer of scores has `QUERIES` rows of `SCORES`.
        unsafe {
            let (block, to) = (block.as_ptr(), self.scores().add(slot * KEYS));
            gemm_serial::<S, true>(s, rows, KEYS, hd, left, block, KEYS, to, SCORES, scale, Update::Set);
        }
    }

    /// The scores of row `i` from slot `slot` on.
    ///
    /// # Safety
    /// Those slots have been scored.
    #[inline(always)]
    pub(super) unsafe fn row(&mut self, i: usize, slot: usize, width: usize) -> &mut [f32] {
        // SAFETY: by the contract of this function.
        unsafe { std::slice::from_raw_parts_mut(self.scores().add(i * SCORES + slot * KEYS), width) }
    }

    /// Running softmax: the first `width` scores become probabilities up to the final factor, and older sums shrink.
    ///
    /// # Safety
    /// Those slots have been scored.
    #[inline(always)]
    pub(super) unsafe fn soften<S: Simd>(&mut self, s: S, width: usize) {
        let mut drop = [0.0_f32; QUERIES];
        let mut sums = [0.0_f32; QUERIES];
        for i in 0..self.rows {
            let highest = self.highest[i];
            // SAFETY: by the contract of this function.
            let row = unsafe { self.row(i, 0, width) };
            let top = simd::max(s, row).max(highest);
            let shift = Vf::splat(s, top);
            let mut sum = Vf::zero(s);
            // The width is a multiple of every register's.
            for x in S::as_mut_simd_f32s(row).0 {
                let e = exp_v(Vf::new(s, *x) - shift);
                sum = sum + e;
                *x = e.raw();
            }
            sums[i] = sum.sum();
            drop[i] = highest - top;
            self.highest[i] = top;
        }
        let mut factors = [0.0_f32; QUERIES];
        simd::map1!(s, &drop, &mut factors, exp_v);
        for i in 0..self.rows {
            self.total[i] = self.total[i] * factors[i] + sums[i];
            if !self.fresh {
                // SAFETY: row `i` of the output tile was written by the first round.
                let row = unsafe { std::slice::from_raw_parts_mut(self.out().add(i * self.hd), self.hd) };
                let factor = Vf::splat(s, factors[i]);
                update0!(s, row, |x| x * factor);
            }
        }
    }

    /// Adds the values of `count` keys, rows of `values` from `at` on, whose probabilities start at slot `slot`.
    ///
    /// # Safety
    /// Those slots are softened, and the rows and columns exist.
    #[inline(always)]
    pub(super) unsafe fn add<S: Simd>(
        &mut self,
        s: S,
        slot: usize,
        values: FloatMat<'_>,
        at: (usize, usize),
        count: usize,
    ) {
        let update = if std::mem::take(&mut self.fresh) { Update::Set } else { Update::Continue };
        let out = self.out();
        // SAFETY: by the contract of this function; the output tile has `QUERIES` rows of `MAX_HEAD_DIM`.
        unsafe {
            let left = Left { ptr: self.scores().add(slot * KEYS), row: SCORES, col: 1 };
            let room = &mut self.tile.room;
            add_product(s, (self.rows, self.hd), left, values, at, count, room, out, update);
        }
    }

    /// Writes row `i` to `o` at `(row, col)`, 0 where nothing was seen; gives the log-sum-exp of its scores.
    ///
    /// # Safety
    /// The row and its columns exist, and nobody else touches them.
    #[inline(always)]
    pub(super) unsafe fn finish<S: Simd>(
        &mut self,
        s: S,
        i: usize,
        o: &FloatMatMut<'_>,
        (row, col): (usize, usize),
    ) -> f32 {
        // SAFETY: by the contract of this function; rows of the output tile are written unless nothing was seen.
        unsafe {
            if self.fresh {
                o.clear(row, col, self.hd);
                return f32::NEG_INFINITY;
            }
            let from = std::slice::from_raw_parts(self.out().add(i * self.hd), self.hd);
            o.store(s, row, col, from, 1.0 / self.total[i]);
        }
        self.highest[i] + self.total[i].ln()
    }
}
