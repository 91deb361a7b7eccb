//! Activations and their gradients: one pass over the data, in place or not.

use super::error::{KernelError, need};
use crate::math::{erf_v, exp_v, sigmoid_v, tanh_v};
use crate::parallel::{self, SharedMut, chunk_range};
use crate::simd::{Simd, Vf, dispatch, map1, map2, update0, update1};

/// An element-wise activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activation {
    /// `0.5 x (1 + tanh(sqrt(2/π) (x + 0.044715 x³)))`.
    GeluTanh,
    /// `0.5 x (1 + erf(x / sqrt 2))`.
    GeluErf,
    /// `x sigmoid(1.702 x)`.
    QuickGelu,
    /// `x sigmoid(x)`.
    Silu,
    /// `max(x, 0)`.
    Relu,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// `tanh(x)`.
    Tanh,
    /// `e^x`.
    Exp,
}

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

pub(crate) struct Relu;
impl Function for Relu {
    #[inline(always)]
    fn value<S: Simd>(x: Vf<S>) -> Vf<S> {
        let zero = Vf::zero(x.simd());
        zero.select(x.lt(zero), x)
    }
    #[inline(always)]
    fn slope<S: Simd>(x: Vf<S>) -> Vf<S> {
        let zero = Vf::zero(x.simd());
        Vf::splat(x.simd(), 1.0).select(zero.lt(x), zero)
    }
}

pub(crate) struct Sigmoid;
impl Function for Sigmoid {
    #[inline(always)]
    fn value<S: Simd>(x: Vf<S>) -> Vf<S> {
        sigmoid_v(x)
    }
    #[inline(always)]
    fn slope<S: Simd>(x: Vf<S>) -> Vf<S> {
        let s = sigmoid_v(x);
        s.neg_mul_add(s, s)
    }
}

pub(crate) struct Tanh;
impl Function for Tanh {
    #[inline(always)]
    fn value<S: Simd>(x: Vf<S>) -> Vf<S> {
        tanh_v(x)
    }
    #[inline(always)]
    fn slope<S: Simd>(x: Vf<S>) -> Vf<S> {
        let t = tanh_v(x);
        t.neg_mul_add(t, Vf::splat(x.simd(), 1.0))
    }
}

pub(crate) struct Exp;
impl Function for Exp {
    #[inline(always)]
    fn value<S: Simd>(x: Vf<S>) -> Vf<S> {
        exp_v(x)
    }
    #[inline(always)]
    fn slope<S: Simd>(x: Vf<S>) -> Vf<S> {
        exp_v(x)
    }
}

/// Runs an expression with `$f` bound to the type of the activation `$activation`.
macro_rules! with_function {
    ($activation:expr, $f:ident => $body:expr) => {{
        use crate::kernels::activation as act;
        match $activation {
            act::Activation::GeluTanh => {
                type $f = act::GeluTanh;
                $body
            }
            act::Activation::GeluErf => {
                type $f = act::GeluErf;
                $body
            }
            act::Activation::QuickGelu => {
                type $f = act::QuickGelu;
                $body
            }
            act::Activation::Silu => {
                type $f = act::Silu;
                $body
            }
            act::Activation::Relu => {
                type $f = act::Relu;
                $body
            }
            act::Activation::Sigmoid => {
                type $f = act::Sigmoid;
                $body
            }
            act::Activation::Tanh => {
                type $f = act::Tanh;
                $body
            }
            act::Activation::Exp => {
                type $f = act::Exp;
                $body
            }
        }
    }};
}
pub(crate) use with_function;

/// Values per task.
const CHUNK: usize = 16_384;

#[inline(always)]
fn value_body<S: Simd>(s: S, activation: Activation, x: &[f32], y: &mut [f32]) {
    with_function!(activation, F => map1!(s, x, y, F::value));
}
dispatch!(fn value_chunk(activation: Activation, x: &[f32], y: &mut [f32]) = value_body);

#[inline(always)]
fn value_in_place_body<S: Simd>(s: S, activation: Activation, y: &mut [f32]) {
    with_function!(activation, F => value_in_place::<S, F>(s, y));
}
dispatch!(fn value_in_place_chunk(activation: Activation, y: &mut [f32]) = value_in_place_body);

/// `y = f(y)`.
#[inline(always)]
pub(crate) fn value_in_place<S: Simd, F: Function>(s: S, y: &mut [f32]) {
    update0!(s, y, F::value);
}

#[inline(always)]
fn grad_body<S: Simd>(s: S, activation: Activation, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    with_function!(activation, F => map2!(s, x, dy, dx, |x, dy| dy * F::slope(x)));
}
dispatch!(fn grad_chunk(activation: Activation, x: &[f32], dy: &[f32], dx: &mut [f32]) = grad_body);

#[inline(always)]
pub(crate) fn grad_in_place_body<S: Simd>(s: S, activation: Activation, x: &[f32], dy: &mut [f32]) {
    with_function!(activation, F => update1!(s, x, dy, |x, dy| dy * F::slope(x)));
}
dispatch!(fn grad_in_place_chunk(activation: Activation, x: &[f32], dy: &mut [f32]) = grad_in_place_body);

/// `y = f(x)`, element by element.
///
/// # Errors
/// Where `y` is shorter than `x`.
pub fn activation(activation: Activation, x: &[f32], y: &mut [f32]) -> Result<(), KernelError> {
    need("activation", "y", y.len(), x.len())?;
    let y = SharedMut::new(y);
    parallel::for_each(x.len().div_ceil(CHUNK), |i| {
        let r = chunk_range(x.len(), CHUNK, i);
        // SAFETY: chunks are disjoint and within `y`, which is at least as long as `x`.
        value_chunk(activation, &x[r.clone()], unsafe { y.slice(r.start, r.len()) });
    });
    Ok(())
}

/// `y = f(y)`, element by element.
pub fn activation_in_place(activation: Activation, y: &mut [f32]) {
    let n = y.len();
    let y = SharedMut::new(y);
    parallel::for_each(n.div_ceil(CHUNK), |i| {
        let r = chunk_range(n, CHUNK, i);
        // SAFETY: chunks are disjoint and within `y`.
        value_in_place_chunk(activation, unsafe { y.slice(r.start, r.len()) });
    });
}

/// `dx = dy f'(x)`, where `x` is what went into the activation.
///
/// # Errors
/// Where `dy` or `dx` is shorter than `x`.
pub fn activation_grad(
    activation: Activation,
    x: &[f32],
    dy: &[f32],
    dx: &mut [f32],
) -> Result<(), KernelError> {
    need("activation_grad", "dy", dy.len(), x.len())?;
    need("activation_grad", "dx", dx.len(), x.len())?;
    let dx = SharedMut::new(dx);
    parallel::for_each(x.len().div_ceil(CHUNK), |i| {
        let r = chunk_range(x.len(), CHUNK, i);
        // SAFETY: chunks are disjoint and within `dx`, which is at least as long as `x`.
        grad_chunk(activation, &x[r.clone()], &dy[r.clone()], unsafe { dx.slice(r.start, r.len()) });
    });
    Ok(())
}

/// `d = d f'(x)`: the gradient overwrites what came from above.
///
/// # Errors
/// Where `d` is shorter than `x`.
pub fn activation_grad_in_place(activation: Activation, x: &[f32], d: &mut [f32]) -> Result<(), KernelError> {
    need("activation_grad_in_place", "d", d.len(), x.len())?;
    let d = SharedMut::new(d);
    parallel::for_each(x.len().div_ceil(CHUNK), |i| {
        let r = chunk_range(x.len(), CHUNK, i);
        // SAFETY: chunks are disjoint and within `d`, which is at least as long as `x`.
        grad_in_place_chunk(activation, &x[r.clone()], unsafe { d.slice(r.start, r.len()) });
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::kernels::testing::{assert_close, random};

    const ALL: [Activation; 8] = [
        Activation::GeluTanh,
        Activation::GeluErf,
        Activation::QuickGelu,
        Activation::Silu,
        Activation::Relu,
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Exp,
    ];

    /// The activation in `f64`.
    fn reference(activation: Activation, x: f64) -> f64 {
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
            Activation::Relu => x.max(0.0),
            Activation::Sigmoid => sigmoid(x),
            Activation::Tanh => x.tanh(),
            Activation::Exp => x.exp(),
        }
    }

    #[test]
    fn values_and_slopes_match_f64() {
        for activation in ALL {
            let x: Vec<f32> = random(7, 1001).iter().map(|x| x * 4.0).collect();
            let dy = random(8, 1001);
            let mut y = vec![0.0; 1001];
            super::activation(activation, &x, &mut y).unwrap();
            let want: Vec<f32> = x.iter().map(|x| reference(activation, f64::from(*x)) as f32).collect();
            assert_close(&y, &want, 2e-6);

            let mut in_place = x.clone();
            activation_in_place(activation, &mut in_place);
            assert_eq!(in_place, y);

            let mut dx = vec![0.0; 1001];
            activation_grad(activation, &x, &dy, &mut dx).unwrap();
            let h = 1e-4;
            let want: Vec<f32> = x
                .iter()
                .zip(&dy)
                .map(|(x, dy)| {
                    let x = f64::from(*x);
                    let slope = (reference(activation, x + h) - reference(activation, x - h)) / (2.0 * h);
                    (slope * f64::from(*dy)) as f32
                })
                .collect();
            assert_close(&dx, &want, 1e-5);

            let mut d = dy.clone();
            activation_grad_in_place(activation, &x, &mut d).unwrap();
            assert_eq!(d, dx);
        }
    }

    #[test]
    fn long_inputs_are_cut_without_a_seam() {
        let x = random(3, 2 * CHUNK + 17);
        let mut y = vec![0.0; x.len()];
        super::activation(Activation::Silu, &x, &mut y).unwrap();
        let want: Vec<f32> = x.iter().map(|x| reference(Activation::Silu, f64::from(*x)) as f32).collect();
        assert_close(&y, &want, 2e-6);
        assert!(super::activation(Activation::Silu, &x, &mut y[1..]).is_err());
    }
}
