//! Activations and their slopes, as parts of element-wise programs and of epilogues.

use crate::math::{erf_v, exp_v, sigmoid_v};
use crate::simd::{Simd, Vf, update0};

/// An activation as a type, so that the choice is made outside of the loops.
pub(crate) trait Function {
    /// The value at `x`.
    fn value<S: Simd>(x: Vf<S>) -> Vf<S>;
    /// The slope at `x`.
    fn slope<S: Simd>(x: Vf<S>) -> Vf<S>;
}

/// `slope` of `x sigmoid(u(x))`: `s + x s (1 - s) u'`, with `s = sigmoid(u)`.
#[inline(always)]
fn gated_slope<S: Simd>(x: Vf<S>, s: Vf<S>, du: Vf<S>) -> Vf<S> {
    let one = Vf::splat(x.simd(), 1.0);
    s * (x * (one - s)).mul_add(du, one)
}

pub(crate) struct GeluTanh;
/// `2 sqrt(2/π)`, as `0.5 (1 + tanh u) = sigmoid(2u)`.
const TWO_SQRT_2_PI: f32 = 1.595_769;
impl Function for GeluTanh {
    #[inline(always)]
    fn value<S: Simd>(x: Vf<S>) -> Vf<S> {
        let s = x.simd();
        let inner = (x * x).mul_add(Vf::splat(s, 0.044_715 * TWO_SQRT_2_PI), Vf::splat(s, TWO_SQRT_2_PI));
        x / (Vf::splat(s, 1.0) + exp_v(-(x * inner)))
    }
    #[inline(always)]
    fn slope<S: Simd>(x: Vf<S>) -> Vf<S> {
        let s = x.simd();
        let xx = x * x;
        let inner = xx.mul_add(Vf::splat(s, 0.044_715 * TWO_SQRT_2_PI), Vf::splat(s, TWO_SQRT_2_PI));
        let du = xx.mul_add(Vf::splat(s, 3.0 * 0.044_715 * TWO_SQRT_2_PI), Vf::splat(s, TWO_SQRT_2_PI));
        gated_slope(x, sigmoid_v(x * inner), du)
    }
}

pub(crate) struct GeluErf;
impl Function for GeluErf {
    #[inline(always)]
    fn value<S: Simd>(x: Vf<S>) -> Vf<S> {
        let half_x = x * Vf::splat(x.simd(), 0.5);
        half_x.mul_add(erf_v(x * Vf::splat(x.simd(), std::f32::consts::FRAC_1_SQRT_2)), half_x)
    }
    #[inline(always)]
    fn slope<S: Simd>(x: Vf<S>) -> Vf<S> {
        let s = x.simd();
        let half = Vf::splat(s, 0.5);
        let cdf = half.mul_add(erf_v(x * Vf::splat(s, std::f32::consts::FRAC_1_SQRT_2)), half);
        let density = exp_v(-(x * x * half)) * Vf::splat(s, 0.398_942_3);
        x.mul_add(density, cdf)
    }
}

pub(crate) struct QuickGelu;
impl Function for QuickGelu {
    #[inline(always)]
    fn value<S: Simd>(x: Vf<S>) -> Vf<S> {
        let s = x.simd();
        x / (Vf::splat(s, 1.0) + exp_v(x * Vf::splat(s, -1.702)))
    }
    #[inline(always)]
    fn slope<S: Simd>(x: Vf<S>) -> Vf<S> {
        let du = Vf::splat(x.simd(), 1.702);
        gated_slope(x, sigmoid_v(x * du), du)
    }
}

pub(crate) struct Silu;
impl Function for Silu {
    #[inline(always)]
    fn value<S: Simd>(x: Vf<S>) -> Vf<S> {
        x / (Vf::splat(x.simd(), 1.0) + exp_v(-x))
    }
    #[inline(always)]
    fn slope<S: Simd>(x: Vf<S>) -> Vf<S> {
        gated_slope(x, sigmoid_v(x), Vf::splat(x.simd(), 1.0))
    }
}

/// Runs an expression with `$f` bound to the type of the activation `$activation`.
macro_rules! with_function {
    ($activation:expr, $f:ident => $body:expr) => {{
        use crate::kernels::activation as act;
        use crossloom_ir::op::Activation;
        match $activation {
            Activation::GeluTanh => {
                type $f = act::GeluTanh;
                $body
            }
            Activation::GeluErf => {
                type $f = act::GeluErf;
                $body
            }
            Activation::QuickGelu => {
                type $f = act::QuickGelu;
                $body
            }
            Activation::Silu => {
                type $f = act::Silu;
                $body
            }
        }
    }};
}
pub(crate) use with_function;

/// `y = f(y)`.
#[inline(always)]
pub(crate) fn value_in_place<S: Simd, F: Function>(s: S, y: &mut [f32]) {
    update0!(s, y, F::value);
}

/// The value of an activation at `x` in `f64`, straight from its definition.
#[cfg(test)]
pub(crate) fn reference(activation: crossloom_ir::op::Activation, x: f64) -> f64 {
    use crossloom_ir::op::Activation;
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    match activation {
        Activation::GeluTanh => {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x)).tanh())
        }
        Activation::GeluErf => {
            // Φ by integrating the density with Simpson's rule.
            let n = 2000;
            let h = x / f64::from(n);
            let density = |t: f64| (-0.5 * t * t).exp() / (2.0 * std::f64::consts::PI).sqrt();
            let area: f64 = (0..n)
                .map(|i| {
                    let a = f64::from(i) * h;
                    h / 6.0 * (density(a) + 4.0 * density(a + h / 2.0) + density(a + h))
                })
                .sum();
            x * (0.5 + area)
        }
        Activation::QuickGelu => x * sigmoid(1.702 * x),
        Activation::Silu => x * sigmoid(x),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crossloom_ir::op::Activation;

    use super::*;
    use crate::kernels::elementwise::{Broadcast, Program, Step, UnaryOp};
    use crate::kernels::testing::{assert_close, random};

    #[test]
    fn values_and_slopes_match_f64() {
        for activation in [Activation::GeluTanh, Activation::GeluErf, Activation::QuickGelu, Activation::Silu]
        {
            let x: Vec<f32> = random(7, 1001).iter().map(|x| x * 4.0).collect();
            let (mut y, mut slope) = (vec![0.0; 1001], vec![0.0; 1001]);
            let steps =
                vec![Step::Unary(UnaryOp::Act(activation), 0), Step::Unary(UnaryOp::ActGrad(activation), 0)];
            let program = Program::new(vec![Broadcast::Full], steps, vec![1, 2]).unwrap();
            program
                .run_slices(1, 1001, &[(&x[..]).into()], &mut [(&mut y[..]).into(), (&mut slope[..]).into()])
                .unwrap();
            let at = |x: &f32| reference(activation, f64::from(*x));
            let want: Vec<f32> = x.iter().map(|x| at(x) as f32).collect();
            assert_close(&y, &want, 2e-6);
            let h = 1e-4;
            let around = |x: &f32, h: f64| reference(activation, f64::from(*x) + h);
            let want: Vec<f32> =
                x.iter().map(|x| ((around(x, h) - around(x, -h)) / (2.0 * h)) as f32).collect();
            assert_close(&slope, &want, 1e-5);
        }
    }
}
