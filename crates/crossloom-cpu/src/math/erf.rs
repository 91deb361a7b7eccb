//! The error function.

use super::exp::expm1_v;
use crate::simd::{Simd, Vf};

/// `-ln(erfc(t)) / t` on `[0, 3.95]`, minimax for the relative error of `erf`, 4e-9.
const POLY: [f32; 9] = [
    std::f32::consts::FRAC_2_SQRT_PI,
    0.636_619_4,
    0.102_777_83,
    -0.019_153_06,
    -0.000_160_404_23,
    0.001_667_036_3,
    -0.000_632_842,
    0.000_117_642_81,
    -9.256_447e-6,
];

/// `erf(x) = sign(x) (1 - exp(-|x| p(|x|)))`, with `1 - exp` taken without cancellation.
#[inline(always)]
pub(crate) fn erf_v<S: Simd>(x: Vf<S>) -> Vf<S> {
    let s = x.simd();
    let limit = Vf::splat(s, 3.95);
    let t = x.abs();
    let t = limit.select(limit.lt(t), t);
    let mut p = Vf::splat(s, POLY[8]);
    for i in (0..8).rev() {
        p = p.mul_add(t, Vf::splat(s, POLY[i]));
    }
    let magnitude = -expm1_v(-(t * p));
    // Copy the sign bit.
    let sign = s.and_u32s(x.bits(), s.splat_u32s(0x8000_0000));
    Vf::from_bits(s, s.or_u32s(magnitude.bits(), sign))
}
