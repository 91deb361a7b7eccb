//! The exponential and what follows from it.

use crate::simd::{Simd, Vf};

/// 1.5 · 2^23: adding it rounds a small number to an integer, which then stands in the low bits.
const ROUND: f32 = 12_582_912.0;
/// ln 2 in two parts, the first exact in few bits, so that `x - n ln 2` loses nothing.
const LN2_HI: f32 = 0.693_359_4;
const LN2_LO: f32 = -2.121_944_4e-4;
/// `(e^r - 1 - r) / r²` on `|r| <= ln(2)/2`, minimax, weighted error 3.4e-9.
const POLY: [f32; 5] = [0.5, 0.166_665_13, 0.041_666_187, 0.008_369_599, 0.001_395_171_5];

/// Splits `x = n ln 2 + r`; returns the bits of `n` shifted into the exponent, and `e^r - 1`.
#[inline(always)]
fn reduce<S: Simd>(x: Vf<S>) -> (S::u32s, Vf<S>) {
    let s = x.simd();
    let shifted = x.mul_add(Vf::splat(s, std::f32::consts::LOG2_E), Vf::splat(s, ROUND));
    let n = shifted - Vf::splat(s, ROUND);
    let r = n.neg_mul_add(Vf::splat(s, LN2_HI), x);
    let r = n.neg_mul_add(Vf::splat(s, LN2_LO), r);
    (s.wrapping_dyn_shl_u32s(shifted.bits(), s.splat_u32s(23)), expm1_small(r))
}

/// `e^r - 1` for `|r| <= ln(2)/2`.
#[inline(always)]
fn expm1_small<S: Simd>(r: Vf<S>) -> Vf<S> {
    let s = r.simd();
    let mut p = Vf::splat(s, POLY[4]);
    for c in [POLY[3], POLY[2], POLY[1], POLY[0]] {
        p = p.mul_add(r, Vf::splat(s, c));
    }
    (p * r).mul_add(r, r)
}

/// `2^x`; 0 below -126.
#[inline(always)]
pub(crate) fn exp2_v<S: Simd>(x: Vf<S>) -> Vf<S> {
    let s = x.simd();
    let shifted = x + Vf::splat(s, ROUND);
    let r = (x - (shifted - Vf::splat(s, ROUND))) * Vf::splat(s, std::f32::consts::LN_2);
    let mantissa = expm1_small(r) + Vf::splat(s, 1.0);
    let exponent = s.wrapping_dyn_shl_u32s(shifted.bits(), s.splat_u32s(23));
    let y = Vf::from_bits(s, s.add_u32s(mantissa.bits(), exponent));
    let y = Vf::zero(s).select(x.lt(Vf::splat(s, -126.0)), y);
    let limit = Vf::splat(s, 128.0);
    Vf::splat(s, f32::INFINITY).select(limit.lt(x), Vf::splat(s, f32::INFINITY).select(limit.eq(x), y))
}

/// `e^x`.
#[inline(always)]
pub(crate) fn exp_v<S: Simd>(x: Vf<S>) -> Vf<S> {
    let s = x.simd();
    let (exponent, expm1) = reduce(x);
    let mantissa = expm1 + Vf::splat(s, 1.0);
    let y = Vf::from_bits(s, s.add_u32s(mantissa.bits(), exponent));
    let y = Vf::zero(s).select(x.lt(Vf::splat(s, -87.336_54)), y);
    Vf::splat(s, f32::INFINITY).select(Vf::splat(s, 88.722_83).lt(x), y)
}

/// `e^x - 1` for `x` in `[-87, 87]`, with full relative accuracy near zero.
#[inline(always)]
pub(crate) fn expm1_v<S: Simd>(x: Vf<S>) -> Vf<S> {
    let s = x.simd();
    let (exponent, expm1) = reduce(x);
    let one = Vf::splat(s, 1.0);
    let power = Vf::from_bits(s, s.add_u32s(one.bits(), exponent));
    expm1.mul_add(power, power - one)
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn sigmoid_v<S: Simd>(x: Vf<S>) -> Vf<S> {
    let one = Vf::splat(x.simd(), 1.0);
    one / (one + exp_v(-x))
}

/// `tanh(x)`, from `e^{2x} - 1`, so that small arguments keep their relative accuracy.
#[inline(always)]
pub(crate) fn tanh_v<S: Simd>(x: Vf<S>) -> Vf<S> {
    let s = x.simd();
    let limit = Vf::splat(s, 9.1);
    let clamped = limit.select(limit.lt(x), (-limit).select(x.lt(-limit), x));
    let e = expm1_v(clamped + clamped);
    e / (e + Vf::splat(s, 2.0))
}
