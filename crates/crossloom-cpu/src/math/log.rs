//! The natural logarithm.

use crate::simd::{Simd, Vf};

/// `(ln(1+f) - f + f²/2) / f³` for `1+f` between `sqrt(1/2)` and `sqrt(2)`, minimax, weighted error 5.9e-9.
const POLY: [f32; 8] = [
    0.333_333_17,
    -0.250_008_1,
    0.200_022_86,
    -0.166_245_52,
    0.141_812_02,
    -0.131_287_81,
    0.128_815_86,
    -0.078_594_63,
];
/// Bits of `sqrt(1/2)`.
const SQRT_HALF: u32 = 0x3f35_04f3;

/// `ln(x)`.
#[inline(always)]
pub(crate) fn log_v<S: Simd>(x: Vf<S>) -> Vf<S> {
    let s = x.simd();
    // Subnormal numbers are scaled into the normal range first.
    let small = x.lt(Vf::splat(s, f32::MIN_POSITIVE));
    let scaled = (x * Vf::splat(s, 8_388_608.0)).select(small, x);
    let extra = Vf::splat(s, 23.0).select(small, Vf::zero(s));
    // x = 2^e (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)).
    let offset = s.sub_u32s(scaled.bits(), s.splat_u32s(SQRT_HALF));
    let mantissa = s.add_u32s(s.and_u32s(offset, s.splat_u32s(0x007f_ffff)), s.splat_u32s(SQRT_HALF));
    let f = Vf::from_bits(s, mantissa) - Vf::splat(s, 1.0);
    // The biased exponent as a float: put it (plus 256, to stay positive) in the low bits of 2^23.
    let biased = s.wrapping_dyn_shr_u32s(s.add_u32s(offset, s.splat_u32s(0x4000_0000)), s.splat_u32s(23));
    let e =
        Vf::from_bits(s, s.or_u32s(biased, s.splat_u32s(0x4b00_0000))) - Vf::splat(s, 8_388_608.0 + 128.0);
    let e = e - extra;

    let mut p = Vf::splat(s, POLY[7]);
    for i in (0..7).rev() {
        p = p.mul_add(f, Vf::splat(s, POLY[i]));
    }
    let square = f * f;
    let tail = (p * f).mul_add(square, e * Vf::splat(s, -2.121_944_4e-4));
    let tail = square.mul_add(Vf::splat(s, -0.5), tail);
    let y = e.mul_add(Vf::splat(s, 0.693_359_4), f + tail);

    let y = Vf::splat(s, f32::INFINITY).select(x.eq(Vf::splat(s, f32::INFINITY)), y);
    let y = Vf::splat(s, f32::NAN).select(x.lt(Vf::zero(s)), y);
    let y = Vf::splat(s, f32::NEG_INFINITY).select(x.eq(Vf::zero(s)), y);
    // NaN: `x == x` fails.
    y.select(x.eq(x), x)
}
