//! Packing of the right operand into panels of `PANEL` columns, zero-padded, so that the tile reads it in order.

use crate::element::Element;
use crate::prefetch::prefetch;
use crate::simd::{Simd, Vf};

/// Columns of a packed panel.
pub(crate) const PANEL: usize = 32;

/// How many elements ahead of those that are turned memory is asked for.
const AHEAD: usize = 64;

/// The number of values of a packed `[k, n]` block.
pub(crate) const fn packed_len(k: usize, n: usize) -> usize {
    k * n.next_multiple_of(PANEL)
}

/// Packs columns `.. cols` (at most [`PANEL`]) of a `[k, cols]` block whose rows are `ld` apart.
///
/// # Safety
/// `src + p * ld + j` is readable for `p < k`, `j < cols`; `dst` holds at least `k * PANEL` values.
#[inline(always)]
pub(crate) unsafe fn pack_rows<S: Simd, B: Element>(
    s: S,
    src: *const B,
    ld: usize,
    k: usize,
    cols: usize,
    dst: &mut [f32],
) {
    for (p, row) in dst.chunks_exact_mut(PANEL).take(k).enumerate() {
        for (j, out) in row.chunks_exact_mut(S::F32_LANES).enumerate() {
            let at = j * S::F32_LANES;
            let there = cols.saturating_sub(at);
            let x = if there == 0 {
                Vf::zero(s)
            } else {
                // SAFETY: row `p < k` has `cols` readable values, and no more than those are read.
                unsafe { Vf::load_first(s, src.add(p * ld + at), there) }
            };
            x.store(out);
        }
    }
}

/// Packs a transposed block: column `j` of the panel is the `k` values from `src + j * ld`.
///
/// # Safety
/// `src + j * ld + p` is readable for `p < k`, `j < cols`; `dst` holds at least `k * PANEL` values.
#[inline(always)]
pub(crate) unsafe fn pack_columns<S: Simd, B: Element>(
    _: S,
    src: *const B,
    ld: usize,
    k: usize,
    cols: usize,
    dst: &mut [f32],
) {
    const STEP: usize = 8;
    if cols < PANEL {
        dst[..k * PANEL].fill(0.0);
    }
    // Eight source rows at a time: few enough streams, and half a cache line written at once.
    for j0 in (0..cols).step_by(STEP) {
        let width = (cols - j0).min(STEP);
        let mut first = 0;
        if width == STEP {
            #[cfg(target_arch = "x86_64")]
            if S::F32_LANES >= STEP {
                while first + STEP <= k {
                    // Of eight rows at once the processor does not see by itself what comes next.
                    if first.is_multiple_of(2 * STEP) {
                        for row in j0..j0 + STEP {
                            prefetch(src.wrapping_add(row * ld + first + AHEAD).cast());
                        }
                    }
                    // SAFETY: eight rows of eight values from `src + j0 * ld + first` are readable, and eight rows of
                    // the panel writable; a set with registers of 8 or more lanes on this architecture includes AVX2.
                    unsafe {
                        let to = dst.as_mut_ptr().add(first * PANEL + j0);
                        transpose8(src.add(j0 * ld + first), ld, to);
                    }
                    first += STEP;
                }
            }
        }
        for j in j0..j0 + width {
            for p in first..k {
                // SAFETY: source row `j` has `k` readable values.
                dst[p * PANEL + j] = unsafe { *src.add(j * ld + p) }.widen();
            }
        }
    }
}

/// Eight rows of eight elements, `ld` apart, to eight columns of a panel.
///
/// # Safety
/// Eight elements are readable from `src + i * ld`, and eight values writable from `dst + i * PANEL`, for `i < 8`; the
/// machine has AVX2.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn transpose8<B: Element>(src: *const B, ld: usize, dst: *mut f32) {
    #[allow(clippy::wildcard_imports, reason = "intrinsics name themselves")]
    use std::arch::x86_64::*;

    // SAFETY: by the contract of this function.
    unsafe {
        // Of rows that are four apart, four elements of each from `$at` on: read so where a register's upper half can be read by itself.
        macro_rules! pair {
            ($i:literal, $at:literal) => {{
                let (upper, lower) = (src.add($i * ld + $at), src.add(($i + 4) * ld + $at));
                let halves = if B::WIDE {
                    [_mm_loadu_ps(upper.cast()), _mm_loadu_ps(lower.cast())]
                } else {
                    [four(upper), four(lower)]
                };
                _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(halves[0]), halves[1])
            }};
        }
        macro_rules! columns {
            ($at:literal) => {{
                let rows = [pair!(0, $at), pair!(1, $at), pair!(2, $at), pair!(3, $at)];
                let (a_low, a_high) =
                    (_mm256_unpacklo_ps(rows[0], rows[1]), _mm256_unpackhi_ps(rows[0], rows[1]));
                let (b_low, b_high) =
                    (_mm256_unpacklo_ps(rows[2], rows[3]), _mm256_unpackhi_ps(rows[2], rows[3]));
                let to = dst.add($at * PANEL);
                _mm256_storeu_ps(to, _mm256_shuffle_ps::<0x44>(a_low, b_low));
                _mm256_storeu_ps(to.add(PANEL), _mm256_shuffle_ps::<0xee>(a_low, b_low));
                _mm256_storeu_ps(to.add(2 * PANEL), _mm256_shuffle_ps::<0x44>(a_high, b_high));
                _mm256_storeu_ps(to.add(3 * PANEL), _mm256_shuffle_ps::<0xee>(a_high, b_high));
            }};
        }
        columns!(0);
        columns!(4);
    }
}

/// Four elements, widened.
///
/// # Safety
/// They are readable; the machine has AVX2.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn four<B: Element>(src: *const B) -> std::arch::x86_64::__m128 {
    use std::arch::x86_64::{_mm_castsi128_ps, _mm_cvtepu16_epi32, _mm_loadl_epi64, _mm_slli_epi32};
    const { assert!(B::WIDE || size_of::<B>() == 2) };
    // SAFETY: by the contract of this function; the upper half of an `f32` is all that a narrow element is.
    unsafe { _mm_castsi128_ps(_mm_slli_epi32::<16>(_mm_cvtepu16_epi32(_mm_loadl_epi64(src.cast())))) }
}
