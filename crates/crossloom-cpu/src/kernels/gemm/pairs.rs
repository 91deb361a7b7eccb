//! Products of `bf16` by `bf16`, two steps of the sum at a time or more, with AVX-512-BF16 and AMX.
//!
//! Both operands are laid out as pairs: one word holds two elements that follow each other along `k`, the first one in
//! the lower half; an odd depth is filled up with a zero. A sum takes the pairs in order, and of a pair the second
//! element first, as the instruction does (which also treats subnormal values as zero); with AMX in runs, see
//! [`Tiles::product`](crate::amx::Tiles::product).

use half::bf16;

use super::pack::{PANEL, pack_columns};
use super::tile::Update;
use crate::amx::{SIDE, Tiles};
use crate::simd::Simd;

// A block of sums is a panel wide.
const _: () = assert!(SIDE == PANEL);

/// Two elements in one word.
#[inline(always)]
fn pair(low: bf16, high: bf16) -> u32 {
    u32::from(low.to_bits()) | u32::from(high.to_bits()) << 16
}

/// Packs a block of `depth` rows and `cols` (at most [`PANEL`]) columns; element `(p, j)` is at
/// `src + p * row + j * col`, where `row` or `col` is 1. Rows of `dst` behind the last pair become zeros.
///
/// # Safety
/// Those elements are readable, and `dst` holds at least `depth.div_ceil(2) * PANEL` words.
#[inline(always)]
#[expect(clippy::cast_ptr_alignment, reason = "words are read where they are aligned")]
pub(super) unsafe fn pack<S: Simd>(
    s: S,
    src: *const bf16,
    (row, col): (usize, usize),
    depth: usize,
    cols: usize,
    dst: &mut [u32],
) {
    let pairs = depth.div_ceil(2);
    // Along `k`, pairs are words already where rows begin at words: they are only turned.
    let mut first = 0;
    if row == 1 && col.is_multiple_of(2) && src.addr().is_multiple_of(align_of::<f32>()) {
        first = depth / 2;
        let turned: &mut [f32] = bytemuck::cast_slice_mut(dst);
        // SAFETY: column `j` has `depth` elements from `src + j * col`, which are `depth / 2` words; no value is computed, so that any
        // bits may pass as numbers.
        unsafe { pack_columns(s, src.cast::<f32>(), col / 2, first, cols, turned) };
    }
    for (q, out) in dst.chunks_exact_mut(PANEL).enumerate().skip(first) {
        let (there, beyond) = out.split_at_mut(if q < pairs { cols } else { 0 });
        beyond.fill(0);
        let whole = 2 * q + 1 < depth;
        if col == 1 && whole {
            // SAFETY: rows `2 q` and `2 q + 1` are below `depth`, and have `cols` elements.
            let rows =
                unsafe { [0, 1].map(|odd| std::slice::from_raw_parts(src.add((2 * q + odd) * row), cols)) };
            let [low, high] = rows;
            there
                .iter_mut()
                .zip(low.iter().zip(high))
                .for_each(|(out, (low, high))| *out = pair(*low, *high));
        } else {
            for (j, out) in there.iter_mut().enumerate() {
                // SAFETY: rows below `depth` and columns below `cols` are readable.
                *out = unsafe { pair_at(src.add(j * col), row, depth, q) };
            }
        }
    }
}

/// Packs `rows` rows of a left operand, each to `words` words, of which those behind the last pair are zeros; element `(i, p)` is at
/// `src + i * row + p * col`, where `row` or `col` is 1.
///
/// # Safety
/// Those elements are readable, `words` is at least `depth.div_ceil(2)`, and `dst` holds `rows * words` words.
#[inline(always)]
pub(super) unsafe fn pack_left(
    src: *const bf16,
    (row, col): (usize, usize),
    rows: usize,
    depth: usize,
    words: usize,
    dst: *mut u32,
) {
    let pairs = depth.div_ceil(2);
    if col == 1 {
        let whole = depth / 2;
        for i in 0..rows {
            // SAFETY: row `i < rows` is readable to `depth`; the words are its own of the `rows * words`.
            unsafe {
                let (from, to) = (src.add(i * row), dst.add(i * words));
                std::ptr::copy_nonoverlapping(from, to.cast::<bf16>(), 2 * whole);
                if whole < pairs {
                    *to.add(whole) = pair_at(from, 1, depth, whole);
                }
            }
        }
    } else {
        // Rows lie side by side, so a pair of all rows is taken at once.
        for q in 0..pairs {
            for i in 0..rows {
                // SAFETY: as above.
                unsafe { *dst.add(i * words + q) = pair_at(src.add(i * row), col, depth, q) };
            }
        }
    }
    for i in 0..rows {
        // SAFETY: the words behind the last pair are the row's own.
        unsafe { std::slice::from_raw_parts_mut(dst.add(i * words + pairs), words - pairs).fill(0) };
    }
}

/// Pair `q` of a run of `depth` elements that are `step` apart.
///
/// # Safety
/// The run is readable, and `2 q < depth`.
#[inline(always)]
unsafe fn pair_at(src: *const bf16, step: usize, depth: usize, q: usize) -> u32 {
    // SAFETY: both places are in the run, by the caller's promise and the check.
    unsafe {
        let low = *src.add(2 * q * step);
        pair(low, if 2 * q + 1 < depth { *src.add((2 * q + 1) * step) } else { bf16::ZERO })
    }
}

/// `C[rows, cols] = alpha A B + update(C)`, with at most a strip's rows of `words` pairs and one panel.
///
/// # Safety
/// `a` holds `rows` rows of `words` words, `row` bytes apart, and `b` `words * PANEL`; `c` has `rows` rows of `cols <= PANEL` values, `ldc` apart, which
/// nobody else touches. Without `tiles`, rows of `a` are `words`
/// words apart; with them, `words` is a multiple of theirs, and `a` may be read to half of [`SIDE`] rows, or all where there are more.
pub(super) unsafe fn product(
    tiles: Option<&Tiles>,
    rows: usize,
    cols: usize,
    words: usize,
    (a, row): (*const u32, usize),
    b: *const u32,
    c: *mut f32,
    ldc: usize,
    alpha: f32,
    update: Update,
) {
    #[cfg(target_arch = "x86_64")]
    if let (Some(tiles), 1..) = (tiles, words) {
        let mut sums = [0.0; SIDE * SIDE];
        // SAFETY: by the contract of this function; a machine with tiles has AVX-512.
        unsafe {
            tiles.product(words, (a, row), rows > SIDE / 2, b, &mut sums);
            native::lay(&sums, rows, cols, c, ldc, alpha, update);
        }
        return;
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = tiles;
    #[cfg(target_arch = "x86_64")]
    if super::form::Form::of_pairs() == Some(super::form::Form::Pairs) {
        let mut i = 0;
        macro_rules! step {
            ($tile:ident, $mr:literal) => {
                while rows - i >= $mr {
                    // SAFETY: rows `i .. i + mr` exist; the machine has the instructions, as the set says.
                    unsafe {
                        native::$tile(cols, words, a.add(i * words), b, c.add(i * ldc), ldc, alpha, update)
                    };
                    i += $mr;
                }
            };
        }
        step!(tile12, 12);
        step!(tile4, 4);
        step!(tile1, 1);
        return;
    }
    // Elsewhere nothing asks for pairs but the tests of what surrounds the instruction.
    for i in 0..rows {
        for j in 0..cols {
            let mut sum = 0_f32;
            for q in 0..words {
                // SAFETY: both words are within the operands.
                let (x, y) = unsafe { (*a.add(i * words + q), *b.add(q * PANEL + j)) };
                let low = |x: u32| f32::from_bits(x << 16);
                let high = |x: u32| f32::from_bits(x & 0xffff_0000);
                sum = high(x).mul_add(high(y), sum);
                sum = low(x).mul_add(low(y), sum);
            }
            // SAFETY: the value is in the tile.
            unsafe { update.put(alpha * sum, c.add(i * ldc + j)) };
        }
    }
}

/// The tiles in the machine's own instructions.
#[cfg(target_arch = "x86_64")]
mod native {
    #[allow(clippy::wildcard_imports, reason = "intrinsics name themselves")]
    use std::arch::x86_64::*;

    use super::{PANEL, Update};
    use crate::amx::{Block, SIDE};

    /// Writes the first `cols` of a row of sums.
    ///
    /// # Safety
    /// `to` has so many values, which nobody else touches; the machine has AVX-512.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn lay_row(sums: [__m512; 2], to: *mut f32, cols: usize, alpha: f32, update: Update) {
        let (scale, old) = (_mm512_set1_ps(alpha), update.kept());
        let all = if cols >= PANEL { u32::MAX } else { (1_u32 << cols) - 1 };
        for (half, sum) in sums.into_iter().enumerate() {
            let keep = (all >> (16 * half)) as __mmask16;
            let to = to.wrapping_add(16 * half);
            let sum = _mm512_mul_ps(sum, scale);
            // SAFETY: lanes are masked to the row's values.
            unsafe {
                let y = match old {
                    None => sum,
                    Some(beta) => _mm512_fmadd_ps(_mm512_maskz_loadu_ps(keep, to), _mm512_set1_ps(beta), sum),
                };
                _mm512_mask_storeu_ps(to, keep, y);
            }
        }
    }

    /// Writes the first rows and columns of a block of sums.
    ///
    /// # Safety
    /// `c` has `rows` rows of `cols` values, `ldc` apart, which nobody else touches; the machine has AVX-512.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) unsafe fn lay(
        sums: &Block,
        rows: usize,
        cols: usize,
        c: *mut f32,
        ldc: usize,
        alpha: f32,
        update: Update,
    ) {
        for (i, row) in sums.as_chunks::<SIDE>().0.iter().take(rows).enumerate() {
            // SAFETY: a row of the block is two registers; row `i` of `C` is the caller's.
            unsafe {
                let row = [_mm512_loadu_ps(row.as_ptr()), _mm512_loadu_ps(row.as_ptr().add(16))];
                lay_row(row, c.add(i * ldc), cols, alpha, update);
            }
        }
    }

    /// Defines a tile of so many rows by one panel. Rows are spelled out, so that accumulators stay in registers.
    macro_rules! define_tile {
        ($name:ident, [$($i:literal)+]) => {
            /// # Safety
            /// As [`super::product`], for the tile's rows; the machine has AVX-512-BF16.
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
            pub(super) unsafe fn $name(
                cols: usize,
                words: usize,
                a: *const u32,
                b: *const u32,
                c: *mut f32,
                ldc: usize,
                alpha: f32,
                update: Update,
            ) {
                let zero = _mm512_setzero_ps();
                let mut acc = [$({ let _ = $i; [zero, zero] }),+];
                // SAFETY: every address is within the operands by the caller's promise; masked lanes are not touched.
                unsafe {
                    for q in 0..words {
                        let row = b.add(q * PANEL);
                        let b0: __m512bh = std::mem::transmute(_mm512_loadu_si512(row.cast()));
                        let b1: __m512bh = std::mem::transmute(_mm512_loadu_si512(row.add(16).cast()));
                        $(
                            let x = _mm512_set1_epi32((*a.add($i * words + q)).cast_signed());
                            let x: __m512bh = std::mem::transmute(x);
                            acc[$i][0] = _mm512_dpbf16_ps(acc[$i][0], x, b0);
                            acc[$i][1] = _mm512_dpbf16_ps(acc[$i][1], x, b1);
                        )+
                    }
                    $(
                        lay_row(acc[$i], c.add($i * ldc), cols, alpha, update);
                    )+
                }
            }
        };
    }

    define_tile!(tile12, [0 1 2 3 4 5 6 7 8 9 10 11]);
    define_tile!(tile4, [0 1 2 3]);
    define_tile!(tile1, [0]);
}
