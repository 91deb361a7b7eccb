//! Sums of the lanes of four registers at once, each with the bits of [`Vf::sum`]: one after the other they would take
//! twice the instructions, and a product of not very long sums a third of its time.

use crate::element::is;
use crate::simd::{Simd, Vf};

/// The sum of every register's lanes, in the order of [`Vf::sum`]: halves are added until one lane is left.
#[inline(always)]
pub(crate) fn lane_sums<S: Simd>(x: [Vf<S>; 4]) -> [f32; 4] {
    #[cfg(target_arch = "x86_64")]
    let raw = [x[0].raw(), x[1].raw(), x[2].raw(), x[3].raw()];
    #[cfg(target_arch = "x86_64")]
    // SAFETY: with the token of a set in hand, the machine has it; the registers are the token's own.
    unsafe {
        if is::<S, pulp::x86::V4>() {
            return of_sixteen(std::mem::transmute_copy(&raw));
        }
        if is::<S, pulp::x86::V3>() {
            return of_eight(std::mem::transmute_copy(&raw));
        }
    }
    [x[0].sum(), x[1].sum(), x[2].sum(), x[3].sum()]
}

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    __m256, __m512, _mm_permute_ps, _mm_shuffle_ps, _mm256_add_ps, _mm256_castps256_ps128,
    _mm256_extractf128_ps, _mm256_permute_ps, _mm256_permute2f128_ps, _mm256_shuffle_ps, _mm512_add_ps,
    _mm512_castps512_ps128, _mm512_permute_ps, _mm512_permutexvar_ps, _mm512_set_epi32, _mm512_shuffle_f32x4,
};

/// # Safety
/// The machine has AVX-512.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn of_sixteen([a, b, c, d]: [__m512; 4]) -> [f32; 4] {
    // Quarters of two registers: 0 and 1 of both, and what is eight lanes behind them.
    let ab = _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b));
    let cd = _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(c, d), _mm512_shuffle_f32x4::<0xee>(c, d));
    // A quarter of every register: even ones, and what is four lanes behind them.
    let all = _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(ab, cd), _mm512_shuffle_f32x4::<0xdd>(ab, cd));
    let all = _mm512_add_ps(all, _mm512_permute_ps::<0b1110>(all));
    let all = _mm512_add_ps(all, _mm512_permute_ps::<0b01>(all));
    let firsts = _mm512_set_epi32(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 8, 4, 0);
    let sums = _mm512_castps512_ps128(_mm512_permutexvar_ps(firsts, all));
    // SAFETY: both are four numbers.
    unsafe { std::mem::transmute(sums) }
}

/// # Safety
/// The machine has AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn of_eight([a, b, c, d]: [__m256; 4]) -> [f32; 4] {
    // Halves of two registers, and what is four lanes behind them.
    let ab = _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b));
    let cd = _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(c, d), _mm256_permute2f128_ps::<0x31>(c, d));
    // Two lanes of a and c, then of b and d, and what is two lanes behind them.
    let all = _mm256_add_ps(_mm256_shuffle_ps::<0x44>(ab, cd), _mm256_shuffle_ps::<0xee>(ab, cd));
    let all = _mm256_add_ps(all, _mm256_permute_ps::<0b11_11_01_01>(all));
    // a, c, b, d.
    let acbd = _mm_shuffle_ps::<0x88>(_mm256_castps256_ps128(all), _mm256_extractf128_ps::<1>(all));
    // SAFETY: both are four numbers.
    unsafe { std::mem::transmute(_mm_permute_ps::<0b11_01_10_00>(acbd)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::MAX_LANES;
    use crate::kernels::testing::on_each_isa;
    use crate::simd::dispatch;

    dispatch!(fn check(x: &[[f32; MAX_LANES]; 4]) = check_body);

    #[inline(always)]
    fn check_body<S: Simd>(s: S, x: &[[f32; MAX_LANES]; 4]) {
        let registers = [0, 1, 2, 3].map(|i| Vf::load(s, &x[i][..S::F32_LANES]));
        let alone = registers.map(Vf::sum);
        assert_eq!(lane_sums(registers).map(f32::to_bits), alone.map(f32::to_bits));
    }

    /// Numbers whose sums are rounded otherwise in any other order.
    #[test]
    fn every_sum_has_the_bits_that_it_has_alone() {
        let number = |i: usize| ((i * 7919) % 1009) as f32 * 3.0_f32.powi((i % 23) as i32 - 11);
        for first in 0..50 {
            let x = [0, 1, 2, 3].map(|i| std::array::from_fn(|j| number(first + i * MAX_LANES + j)));
            on_each_isa(|| check(&x));
        }
    }
}
