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
    /// `C = alpha A B + beta C`.
    Scale(f32),
}

/// Rows of the largest tile: as many accumulators as the registers hold.
#[inline(always)]
pub(crate) const fn tile_rows<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 { 12 } else { 6 }
}

/// Accumulates one tile and writes its first `cols` columns.
///
/// # Safety
/// `a` has `MR` rows and `k` columns. Row `p < k` of `b` starts at `b + p * ldb` and has `NV` registers, or `cols`
/// values if `MASKED`. `c` has `MR` rows of `cols` values, `ldc` apart, written by nobody else.
#[inline(always)]
unsafe fn tile<S: Simd, const MR: usize, const NV: usize, const MASKED: bool>(
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
    let mut acc = [[Vf::zero(s); NV]; MR];
    // SAFETY: every address is within the operands by the caller's promise.
    unsafe {
        for p in 0..k {
            let row = b.add(p * ldb);
            let mut bv = [Vf::zero(s); NV];
            for v in 0..NV {
                bv[v] = if MASKED && v + 1 == NV {
                    Vf::load_first(s, row.add(v * lanes), cols - v * lanes)
                } else {
                    Vf::load_ptr(s, row.add(v * lanes))
                };
            }
            let column = a.ptr.add(p * a.col);
            for i in 0..MR {
                let x = Vf::splat(s, *column.add(i * a.row));
                for v in 0..NV {
                    acc[i][v] = x.mul_add(bv[v], acc[i][v]);
                }
            }
        }
        // Every branch is a loop over the accumulators in place: handed to a function, they would leave the registers.
        let scale = Vf::splat(s, alpha);
        if alpha == 1.0 && cols == NV * lanes && update != Update::Add {
            if let Update::Scale(beta) = update {
                let beta = Vf::splat(s, beta);
                for i in 0..MR {
                    for v in 0..NV {
                        let at = c.add(i * ldc + v * lanes);
                        Vf::load_ptr(s, at).mul_add(beta, acc[i][v]).store_ptr(at);
                    }
                }
            } else {
                for i in 0..MR {
                    for v in 0..NV {
                        acc[i][v].store_ptr(c.add(i * ldc + v * lanes));
                    }
                }
            }
            return;
        }
        for i in 0..MR {
            for v in 0..NV {
                let at = c.add(i * ldc + v * lanes);
                let left = if v + 1 == NV { cols - v * lanes } else { lanes };
                let y = acc[i][v] * scale;
                let y = match update {
                    Update::Set => y,
                    Update::Add => y + Vf::load_first(s, at, left),
                    Update::Scale(beta) => Vf::load_first(s, at, left).mul_add(Vf::splat(s, beta), y),
                };
                y.store_first(at, left);
            }
        }
    }
}

/// `rows` rows (any number) by at most `NV` registers of columns.
///
/// # Safety
/// As [`tile`], for `rows` rows.
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
        ($mr:literal) => {
            // SAFETY: rows `i .. i + mr` exist, as `i + mr <= rows`.
            unsafe {
                tile::<S, $mr, NV, MASKED>(
                    s,
                    k,
                    a.starting_at(i),
                    b,
                    ldb,
                    c.add(i * ldc),
                    ldc,
                    cols,
                    alpha,
                    update,
                );
            }
            i += $mr;
        };
    }
    if S::REGISTER_COUNT >= 32 {
        while i + 12 <= rows {
            step!(12);
        }
        if i + 8 <= rows {
            step!(8);
        }
    } else {
        while i + 6 <= rows {
            step!(6);
        }
    }
    if i + 4 <= rows {
        step!(4);
    }
    if i + 2 <= rows {
        step!(2);
    }
    if i < rows {
        step!(1);
    }
    debug_assert_eq!(i, rows);
}

/// `C[m, n] = alpha A[m, k] B[k, n] + update(C)` on one thread.
///
/// With `PADDED`, rows of `b` have room for whole registers past `n`, so that no load is masked.
///
/// # Safety
/// `a` has `m` rows and `k` columns; row `p < k` of `b` starts at `b + p * ldb` and holds `n` values, or `n` rounded
/// up to whole registers if `PADDED`; `c` has `m` rows of `n` values, `ldc` apart, which nobody else touches.
#[inline(always)]
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
