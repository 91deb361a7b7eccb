//! The register tile: `MR` rows by `NV` registers of `C`, accumulated over `k` while staying in registers.

use crate::simd::{Simd, Vf};

/// Where a left operand lies: element `(i, p)` of `A` is at `ptr + i * row + p * col`.
#[derive(Clone, Copy)]
pub(crate) struct Left {
    pub(crate) ptr: *const f32,
    pub(crate) row: usize,
    pub(crate) col: usize,
}

impl Left {
    /// The operand from row `i` on.
    ///
    /// # Safety
    /// Row `i` exists.
    #[inline(always)]
    unsafe fn starting_at(self, i: usize) -> Self {
        // SAFETY: row `i` exists by the caller's promise.
        Self { ptr: unsafe { self.ptr.add(i * self.row) }, ..self }
    }
}

/// What happens to the old value of `C`.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Update {
    /// `C = alpha A B`.
    Set,
    /// `C = alpha A B + C`.
    Add,
    /// `C = C + A B`, the sum over `k` going on from `C`: a product that is cut along `k` has the bits of the whole one.
    Continue,
    /// `C = alpha A B + beta C`.
    Scale(f32),
}

impl Update {
    /// By what the old value is multiplied that is added to the product; none where it is replaced.
    #[inline(always)]
    pub(super) fn kept(self) -> Option<f32> {
        match self {
            Self::Set => None,
            Self::Add | Self::Continue => Some(1.0),
            Self::Scale(beta) => Some(beta),
        }
    }

    /// Brings a sum to its place.
    ///
    /// # Safety
    /// The place can be written, and read where an old value is kept; nobody else touches it.
    #[inline(always)]
    pub(super) unsafe fn put(self, sum: f32, to: *mut f32) {
        // SAFETY: by the contract of this function.
        unsafe { *to = self.kept().map_or(sum, |beta| (*to).mul_add(beta, sum)) }
    }

    /// Brings sums to places that follow each other.
    ///
    /// # Safety
    /// As [`Update::put`], for every place.
    #[inline(always)]
    pub(super) unsafe fn put_all<const N: usize>(self, sums: [f32; N], to: *mut f32) {
        // SAFETY: by the contract of this function; an array is aligned as its numbers are.
        unsafe {
            let to = to.cast::<[f32; N]>();
            match self.kept() {
                None => *to = sums,
                Some(beta) => {
                    let old = *to;
                    *to = std::array::from_fn(|i| old[i].mul_add(beta, sums[i]));
                }
            }
        }
    }
}

/// Defines a function that accumulates a tile of so many rows and `NV` (1 or 2) registers, and writes its first `cols`
/// columns. Rows are spelled out: accumulators that a loop indexes do not reliably stay in registers.
macro_rules! define_tile {
    ($name:ident, [$($i:literal)+]) => {
        /// # Safety
        /// `a` has the tile's rows and `k` columns. Row `p < k` of `b` starts at `b + p * ldb` and has `NV` registers,
        /// or `cols` values if `MASKED`. `c` has the tile's rows of `cols` values, `ldc` apart, written by nobody else.
        #[inline(always)]
        unsafe fn $name<S: Simd, const NV: usize, const MASKED: bool>(
            s: S,
            k: usize,
            a: Left,
            b: *const f32,
            ldb: usize,
            c: *mut f32,
            ldc: usize,
            cols: usize,
            alpha: f32,
            update: Update,
        ) {
            let lanes = S::F32_LANES;
            let zero = Vf::zero(s);
            let mut acc = [$({ let _ = $i; [zero, zero] }),+];
            let last = cols - (NV - 1) * lanes;
            // SAFETY: every address is within the operands by the caller's promise.
            unsafe {
                if update == Update::Continue {
                    $(
                        let at = c.add($i * ldc);
                        if NV == 2 {
                            acc[$i][0] = Vf::load_ptr(s, at);
                        }
                        acc[$i][NV - 1] = Vf::load_first(s, at.add((NV - 1) * lanes), last);
                    )+
                }
                for p in 0..k {
                    let row = b.add(p * ldb);
                    let tail = row.add((NV - 1) * lanes);
                    let b1 = if MASKED { Vf::load_first(s, tail, last) } else { Vf::load_ptr(s, tail) };
                    let b0 = if NV == 2 { Vf::load_ptr(s, row) } else { b1 };
                    let column = a.ptr.add(p * a.col);
                    $(
                        let x = Vf::splat(s, *column.add($i * a.row));
                        acc[$i][0] = x.mul_add(b0, acc[$i][0]);
                        if NV == 2 {
                            acc[$i][1] = x.mul_add(b1, acc[$i][1]);
                        }
                    )+
                }
                if alpha != 1.0 {
                    let scale = Vf::splat(s, alpha);
                    $(
                        acc[$i] = [acc[$i][0] * scale, acc[$i][1] * scale];
                    )+
                }
                if last == lanes {
                    match update {
                        Update::Set | Update::Continue => {
                            $(
                                let at = c.add($i * ldc);
                                acc[$i][0].store_ptr(at);
                                if NV == 2 {
                                    acc[$i][1].store_ptr(at.add(lanes));
                                }
                            )+
                        }
                        Update::Add => {
                            $(
                                let at = c.add($i * ldc);
                                (acc[$i][0] + Vf::load_ptr(s, at)).store_ptr(at);
                                if NV == 2 {
                                    let at = at.add(lanes);
                                    (acc[$i][1] + Vf::load_ptr(s, at)).store_ptr(at);
                                }
                            )+
                        }
                        Update::Scale(beta) => {
                            let beta = Vf::splat(s, beta);
                            $(
                                let at = c.add($i * ldc);
                                Vf::load_ptr(s, at).mul_add(beta, acc[$i][0]).store_ptr(at);
                                if NV == 2 {
                                    let at = at.add(lanes);
                                    Vf::load_ptr(s, at).mul_add(beta, acc[$i][1]).store_ptr(at);
                                }
                            )+
                        }
                    }
                } else {
                    let (keep, beta) = match update {
                        Update::Set | Update::Continue => (false, 0.0),
                        Update::Add => (true, 1.0),
                        Update::Scale(beta) => (true, beta),
                    };
                    let beta = Vf::splat(s, beta);
                    $(
                        let at = c.add($i * ldc);
                        let at1 = at.add((NV - 1) * lanes);
                        let mut y = acc[$i];
                        if keep {
                            if NV == 2 {
                                y[0] = Vf::load_ptr(s, at).mul_add(beta, y[0]);
                            }
                            y[NV - 1] = Vf::load_first(s, at1, last).mul_add(beta, y[NV - 1]);
                        }
                        if NV == 2 {
                            y[0].store_ptr(at);
                        }
                        y[NV - 1].store_first(at1, last);
                    )+
                }
            }
        }
    };
}

define_tile!(tile12, [0 1 2 3 4 5 6 7 8 9 10 11]);
define_tile!(tile8, [0 1 2 3 4 5 6 7]);
define_tile!(tile6, [0 1 2 3 4 5]);
define_tile!(tile4, [0 1 2 3]);
define_tile!(tile2, [0 1]);
define_tile!(tile1, [0]);

/// `rows` rows (any number) by at most `NV` registers of columns.
///
/// # Safety
/// As [`tile1`], for `rows` rows.
#[inline(always)]
unsafe fn column_block<S: Simd, const NV: usize, const MASKED: bool>(
    s: S,
    rows: usize,
    k: usize,
    a: Left,
    b: *const f32,
    ldb: usize,
    c: *mut f32,
    ldc: usize,
    cols: usize,
    alpha: f32,
    update: Update,
) {
    let mut i = 0;
    macro_rules! step {
        ($tile:ident, $mr:literal) => {
            // SAFETY: rows `i .. i + mr` exist, as `i + mr <= rows`.
            unsafe {
                let (a, c) = (a.starting_at(i), c.add(i * ldc));
                $tile::<S, NV, MASKED>(s, k, a, b, ldb, c, ldc, cols, alpha, update);
            }
            i += $mr;
        };
    }
    if S::REGISTER_COUNT >= 32 {
        while i + 12 <= rows {
            step!(tile12, 12);
        }
        if i + 8 <= rows {
            step!(tile8, 8);
        }
    } else {
        while i + 6 <= rows {
            step!(tile6, 6);
        }
    }
    if i + 4 <= rows {
        step!(tile4, 4);
    }
    if i + 2 <= rows {
        step!(tile2, 2);
    }
    if i < rows {
        step!(tile1, 1);
    }
    debug_assert_eq!(i, rows);
}

/// `C[m, n] = alpha A[m, k] B[k, n] + update(C)` on one thread.
///
/// With `PADDED`, rows of `b` have room for whole registers past `n`, so that no load is masked.
///
/// Many kernels call it, and each copy is some thousand instructions for every instruction set: it is never inlined, and
/// enables the instruction set itself.
///
/// # Safety
/// `a` has `m` rows and `k` columns; row `p < k` of `b` starts at `b + p * ldb` and holds `n` values, or `n` rounded
/// up to whole registers if `PADDED`; `c` has `m` rows of `n` values, `ldc` apart, which nobody else touches.
#[inline(never)]
pub(crate) unsafe fn gemm_serial<S: Simd, const PADDED: bool>(
    s: S,
    m: usize,
    n: usize,
    k: usize,
    a: Left,
    b: *const f32,
    ldb: usize,
    c: *mut f32,
    ldc: usize,
    alpha: f32,
    update: Update,
) {
    s.vectorize(Product::<PADDED> { m, n, k, a, b, ldb, c, ldc, alpha, update });
}

/// The arguments of [`gemm_serial`], whose promise they carry.
struct Product<const PADDED: bool> {
    m: usize,
    n: usize,
    k: usize,
    a: Left,
    b: *const f32,
    ldb: usize,
    c: *mut f32,
    ldc: usize,
    alpha: f32,
    update: Update,
}

impl<const PADDED: bool> pulp::WithSimd for Product<PADDED> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Self { m, n, k, a, b, ldb, c, ldc, alpha, update } = self;
        let lanes = S::F32_LANES;
        let mut j = 0;
        // SAFETY: columns `j .. j + cols` exist in `b` and `c`; everything else is passed on.
        unsafe {
            while j < n {
                let cols = (n - j).min(2 * lanes);
                let (b, c) = (b.add(j), c.add(j));
                if PADDED || cols.is_multiple_of(lanes) {
                    if cols > lanes {
                        column_block::<S, 2, false>(s, m, k, a, b, ldb, c, ldc, cols, alpha, update);
                    } else {
                        column_block::<S, 1, false>(s, m, k, a, b, ldb, c, ldc, cols, alpha, update);
                    }
                } else if cols > lanes {
                    column_block::<S, 2, true>(s, m, k, a, b, ldb, c, ldc, cols, alpha, update);
                } else {
                    column_block::<S, 1, true>(s, m, k, a, b, ldb, c, ldc, cols, alpha, update);
                }
                j += cols;
            }
        }
    }
}
