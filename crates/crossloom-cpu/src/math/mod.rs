//! Vectorised elementary functions in `f32`.
//!
//! | function | error (measured against `f64` over dense ranges) |
//! |---|---|
//! | `exp` | at most 2 units in the last place; 0 below −87.33, infinity above 88.72 |
//! | `exp2` | at most 2 units in the last place; 0 below −126, infinity from 128 on |
//! | `log` | relative 1e-6 and at most 3 units in the last place; −inf at 0, NaN below |
//! | `tanh` | relative 1e-6 |
//! | `sigmoid` | relative 1e-6 above −87 |
//! | `erf` | relative 1e-6 |
//!
//! All pass NaN through.

mod erf;
mod exp;
mod log;

pub(crate) use erf::erf_v;
pub(crate) use exp::{exp_v, exp2_v, sigmoid_v, tanh_v};
pub(crate) use log::log_v;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Simd, dispatch, map1};

    macro_rules! slice_function {
        ($name:ident, $vector:path) => {
            fn $name(x: &[f32], y: &mut [f32]) {
                #[inline(always)]
                fn body<S: Simd>(s: S, x: &[f32], y: &mut [f32]) {
                    map1!(s, x, y, $vector);
                }
                dispatch!(fn run(x: &[f32], y: &mut [f32]) = body);
                run(x, y);
            }
        };
    }

    slice_function!(exp, exp_v);
    slice_function!(exp2, exp2_v);
    slice_function!(log, log_v);
    slice_function!(tanh, tanh_v);
    slice_function!(sigmoid, sigmoid_v);
    slice_function!(erf, erf_v);

    /// Evenly spaced values of `[lo, hi]`.
    fn range(lo: f64, hi: f64, n: usize) -> Vec<f32> {
        (0..=n).map(|i| (lo + (hi - lo) * i as f64 / n as f64) as f32).collect()
    }

    /// The largest relative error of `got` against `want`, ignoring values below `floor`.
    fn worst(x: &[f32], got: fn(&[f32], &mut [f32]), want: fn(f64) -> f64, floor: f64) -> (f64, f32) {
        let mut y = vec![0.0; x.len()];
        got(x, &mut y);
        let mut worst = (0.0, 0.0);
        for (x, y) in x.iter().zip(&y) {
            let w = want(f64::from(*x));
            let e = (f64::from(*y) - w).abs() / w.abs().max(floor);
            assert!(!e.is_nan(), "f({x}) = {y}, want {w}");
            if e > worst.0 {
                worst = (e, *x);
            }
        }
        worst
    }

    /// erf by its series below 2.5 and by the continued fraction of erfc above.
    fn erf64(x: f64) -> f64 {
        let t = x.abs();
        let value = if t < 2.5 {
            let (mut term, mut total) = (t, t);
            for n in 1..200 {
                term *= -t * t / f64::from(n);
                total += term / f64::from(2 * n + 1);
            }
            total * std::f64::consts::FRAC_2_SQRT_PI
        } else {
            let mut c = 0.0;
            for n in (1..400).rev() {
                c = f64::from(n) / 2.0 / (t + c);
            }
            1.0 - (-t * t).exp() / ((t + c) * std::f64::consts::PI.sqrt())
        };
        value.copysign(x)
    }

    #[test]
    fn exp_is_within_two_units() {
        let (e, at) = worst(&range(-87.3, 88.7, 2_000_000), exp, f64::exp, 0.0);
        assert!(e < 2.0 * f64::from(f32::EPSILON) / 2.0, "relative {e:e} at {at}");
    }

    #[test]
    fn exp2_is_within_two_units() {
        let (e, at) = worst(&range(-125.99, 127.99, 1_000_000), exp2, f64::exp2, 0.0);
        assert!(e < f64::from(f32::EPSILON), "relative {e:e} at {at}");
        let mut y = [0.0; 6];
        exp2(&[3.0, -10.0, -127.0, 128.0, f32::NEG_INFINITY, f32::NAN], &mut y);
        assert_eq!(&y[..5], &[8.0, 1.0 / 1024.0, 0.0, f32::INFINITY, 0.0]);
        assert!(y[5].is_nan());
    }

    #[test]
    fn exp_at_the_edges() {
        let x = [f32::NEG_INFINITY, -1000.0, -87.5, 0.0, -0.0, 88.73, 1000.0, f32::INFINITY, f32::NAN];
        let mut y = [0.0; 9];
        exp(&x, &mut y);
        assert_eq!(&y[..5], &[0.0, 0.0, 0.0, 1.0, 1.0]);
        assert_eq!(&y[5..8], &[f32::INFINITY; 3]);
        assert!(y[8].is_nan());
    }

    #[test]
    fn log_is_accurate_near_one_and_far_away() {
        for x in [range(1e-3, 4.0, 1_000_000), range(0.999, 1.001, 100_000), range(1.0, 1e30, 100_000)] {
            let x: Vec<f32> = x.into_iter().filter(|x| *x != 1.0).collect();
            let (e, at) = worst(&x, log, f64::ln, 0.0);
            assert!(e < 4e-7, "relative {e:e} at {at}");
        }
    }

    #[test]
    fn log_at_the_edges() {
        let x = [0.0, 1.0, f32::INFINITY, -1.0, f32::NAN, 1e-40, f32::MIN_POSITIVE];
        let mut y = [0.0; 7];
        log(&x, &mut y);
        assert_eq!(&y[..3], &[f32::NEG_INFINITY, 0.0, f32::INFINITY]);
        assert!(y[3].is_nan() && y[4].is_nan());
        assert!((f64::from(y[5]) - f64::from(1e-40_f32).ln()).abs() < 1e-5);
        assert!((y[6] + 87.336_54).abs() < 1e-5);
    }

    #[test]
    fn tanh_is_accurate() {
        for x in
            [range(-12.0, 12.0, 1_000_000), range(-1e-3, 1e-3, 100_000), vec![1e-30, -1e-20, 50.0, -90.0]]
        {
            let (e, at) = worst(&x, tanh, f64::tanh, 1e-37);
            assert!(e < 1e-6, "relative {e:e} at {at}");
        }
    }

    #[test]
    fn sigmoid_is_accurate() {
        let (e, at) = worst(&range(-87.0, 87.0, 1_000_000), sigmoid, |x| 1.0 / (1.0 + (-x).exp()), 1e-37);
        assert!(e < 1e-6, "relative {e:e} at {at}");
    }

    #[test]
    fn erf_is_accurate() {
        for x in [range(-6.0, 6.0, 600_000), range(-1e-3, 1e-3, 100_000)] {
            let (e, at) = worst(&x, erf, erf64, 1e-37);
            assert!(e < 1e-6, "relative {e:e} at {at}");
        }
    }

    #[test]
    fn nan_passes_through_and_infinities_saturate() {
        let x = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        for (f, hi, lo) in
            [(tanh as fn(&[f32], &mut [f32]), 1.0, -1.0), (sigmoid, 1.0, 0.0), (erf, 1.0, -1.0)]
        {
            let mut y = [7.0; 3];
            f(&x, &mut y);
            assert!(y[0].is_nan());
            assert_eq!(&y[1..], &[hi, lo]);
        }
    }
}
