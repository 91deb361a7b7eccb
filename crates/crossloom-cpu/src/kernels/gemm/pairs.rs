//! Products of `bf16` by `bf16` two at a time, with AVX-512-BF16.
//!
//! Both operands are laid out as pairs: one word holds two elements that follow each other along `k`, the first one in
//! the lower half; an odd depth is filled up with a zero. A sum takes the pairs in order, and of a pair the second
//! element first, as the instruction does (which also treats subnormal values as zero).

use half::bf16;

use super::pack::PANEL;
use super::tile::Update;
use crate::element::{Element, is};
use crate::isa::{self, Isa};

/// Whether products of these types are done in pairs here.
pub(super) fn wanted<A: Element, B: Element>() -> bool {
    is::<A, bf16>() && is::<B, bf16>() && isa::current().0 == Isa::Avx512Bf16
}

/// Two elements in one word.
#[inline(always)]
fn pair(low: bf16, high: bf16) -> u32 {
    u32::from(low.to_bits()) | u32::from(high.to_bits()) << 16
}

/// Packs a block of `depth` rows and `cols` (at most [`PANEL`]) columns; element `(p, j)` is at
/// `src + p * row + j * col`.
///
/// # Safety
/// Those elements are readable, and `dst` holds `depth.div_ceil(2) * PANEL` words.
pub(super) unsafe fn pack(
    src: *const bf16,
    (row, col): (usize, usize),
    depth: usize,
    cols: usize,
    dst: &mut [u32],
) {
    for (q, out) in dst.chunks_exact_mut(PANEL).take(depth.div_ceil(2)).enumerate() {
        for (j, out) in out.iter_mut().enumerate() {
            // SAFETY: rows below `depth` and columns below `cols` are readable.
            *out = if j < cols { unsafe { pair_at(src.add(j * col), row, depth, q) } } else { 0 };
        }
    }
}

/// Packs `rows` rows of a left operand, each to `depth.div_ceil(2)` words; element `(i, p)` is at
/// `src + i * row + p * col`.
///
/// # Safety
/// Those elements are readable, and `dst` holds all words.
pub(super) unsafe fn pack_left(
    src: *const bf16,
    (row, col): (usize, usize),
    rows: usize,
    depth: usize,
    dst: *mut u32,
) {
    let words = depth.div_ceil(2);
    for i in 0..rows {
        for q in 0..words {
            // SAFETY: row `i < rows` is readable to `depth`; the word is one of the `rows * words`.
            unsafe { *dst.add(i * words + q) = pair_at(src.add(i * row), col, depth, q) };
        }
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

/// `C[rows, cols] = alpha A B + update(C)`, with `rows <= 12` rows of `words` pairs and one panel.
///
/// # Safety
/// `a` holds `rows * words` words, `b` `words * PANEL`; `c` has `rows` rows of `cols <= PANEL` values, `ldc` apart, which
/// nobody else touches.
pub(super) unsafe fn product(
    rows: usize,
    cols: usize,
    words: usize,
    a: *const u32,
    b: *const u32,
    c: *mut f32,
    ldc: usize,
    alpha: f32,
    update: Update,
) {
    #[cfg(target_arch = "x86_64")]
    if isa::current().0 == Isa::Avx512Bf16 {
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
            unsafe {
                let to = c.add(i * ldc + j);
                *to = kept(update).map_or(alpha * sum, |beta| (*to).mul_add(beta, alpha * sum));
            }
        }
    }
}

/// By what the old value of `C` is multiplied that is added to the product; none where it is replaced.
#[inline(always)]
fn kept(update: Update) -> Option<f32> {
    match update {
        Update::Set => None,
        Update::Add | Update::Continue => Some(1.0),
        Update::Scale(beta) => Some(beta),
    }
}

/// The tiles in the machine's own instructions.
#[cfg(target_arch = "x86_64")]
mod native {
    #[allow(clippy::wildcard_imports, reason = "intrinsics name themselves")]
    use std::arch::x86_64::*;

    use super::{PANEL, Update};

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
                    let (scale, old) = (_mm512_set1_ps(alpha), super::kept(update));
                    let all = if cols >= PANEL { u32::MAX } else { (1_u32 << cols) - 1 };
                    $(
                        for half in 0..2 {
                            let keep = (all >> (16 * half)) as __mmask16;
                            let to = c.add($i * ldc).wrapping_add(16 * half);
                            let sum = _mm512_mul_ps(acc[$i][half], scale);
                            let y = match old {
                                None => sum,
                                Some(beta) => _mm512_fmadd_ps(_mm512_maskz_loadu_ps(keep, to), _mm512_set1_ps(beta), sum),
                            };
                            _mm512_mask_storeu_ps(to, keep, y);
                        }
                    )+
                }
            }
        };
    }

    define_tile!(tile12, [0 1 2 3 4 5 6 7 8 9 10 11]);
    define_tile!(tile4, [0 1 2 3]);
    define_tile!(tile1, [0]);
}
