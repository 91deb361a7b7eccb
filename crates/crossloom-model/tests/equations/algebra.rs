//! Rows of numbers, and the functions of them that all parts of a model are made of.

use crate::settings::Activation;
use crate::tape::Num;

/// A vector.
pub(crate) type Row<'t> = Vec<Num<'t>>;
/// A matrix, or one vector per token.
pub(crate) type Rows<'t> = Vec<Row<'t>>;

pub(crate) fn dot<'t>(a: &[Num<'t>], b: &[Num<'t>]) -> Num<'t> {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| *a * *b).sum()
}

pub(crate) fn plus<'t>(a: &[Num<'t>], b: &[Num<'t>]) -> Row<'t> {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| *a + *b).collect()
}

pub(crate) fn times<'t>(a: &[Num<'t>], factor: f64) -> Row<'t> {
    a.iter().map(|a| *a * factor).collect()
}

/// `W x`.
pub(crate) fn product<'t>(w: &Rows<'t>, x: &[Num<'t>]) -> Row<'t> {
    w.iter().map(|row| dot(row, x)).collect()
}

/// A linear layer: `W x + b`.
pub(crate) struct Linear<'t> {
    pub(crate) w: Rows<'t>,
    pub(crate) b: Option<Row<'t>>,
}

impl<'t> Linear<'t> {
    pub(crate) fn of(&self, x: &[Num<'t>]) -> Row<'t> {
        let y = product(&self.w, x);
        self.b.as_ref().map_or(y.clone(), |b| plus(&y, b))
    }
}

fn mean<'t>(x: &[Num<'t>]) -> Num<'t> {
    x.iter().copied().sum::<Num<'t>>() * (x.len() as f64).recip()
}

fn inverse_root(x: Num<'_>) -> Num<'_> {
    let y = x.value().sqrt().recip();
    x.function(y, -0.5 * y / x.value())
}

/// `(x − mean) / √(variance + ε) · gain + offset`.
pub(crate) fn layer_norm<'t>(x: &[Num<'t>], [gain, offset]: &[Row<'t>; 2], eps: f64) -> Row<'t> {
    let m = mean(x);
    let centred: Row<'t> = x.iter().map(|x| *x - m).collect();
    let squares: Row<'t> = centred.iter().map(|x| *x * *x).collect();
    let scale = inverse_root(mean(&squares) + eps);
    (0..x.len()).map(|i| centred[i] * scale * gain[i] + offset[i]).collect()
}

/// `x / √(mean x² + ε) · gain`.
pub(crate) fn rms_norm<'t>(x: &[Num<'t>], gain: &[Num<'t>], eps: f64) -> Row<'t> {
    let squares: Row<'t> = x.iter().map(|x| *x * *x).collect();
    let scale = inverse_root(mean(&squares) + eps);
    (0..x.len()).map(|i| x[i] * scale * gain[i]).collect()
}

pub(crate) fn exp(x: Num<'_>) -> Num<'_> {
    let y = x.value().exp();
    x.function(y, y)
}

pub(crate) fn ln(x: Num<'_>) -> Num<'_> {
    x.function(x.value().ln(), x.value().recip())
}

pub(crate) fn sigmoid(x: Num<'_>) -> Num<'_> {
    let y = (1.0 + (-x.value()).exp()).recip();
    x.function(y, y * (1.0 - y))
}

pub(crate) fn silu(x: Num<'_>) -> Num<'_> {
    x * sigmoid(x)
}

/// The activation of a feed-forward layer.
pub(crate) fn activate(activation: Activation, x: Num<'_>) -> Num<'_> {
    let v = x.value();
    match activation {
        Activation::GeluTanh => {
            let root = (2.0 / std::f64::consts::PI).sqrt();
            let inner = root * (v + 0.044_715 * v.powi(3));
            let slope = (1.0 - inner.tanh().powi(2)) * root * (1.0 + 3.0 * 0.044_715 * v * v);
            x.function(0.5 * v * (1.0 + inner.tanh()), 0.5 * (1.0 + inner.tanh()) + 0.5 * v * slope)
        }
        Activation::GeluErf => {
            let below = 0.5 * (1.0 + libm::erf(v / std::f64::consts::SQRT_2));
            let density = (-0.5 * v * v).exp() / (2.0 * std::f64::consts::PI).sqrt();
            x.function(v * below, below + v * density)
        }
        Activation::QuickGelu => x * sigmoid(x * 1.702),
    }
}

/// `Σ softmax(scores)_i · values_i`.
pub(crate) fn attend<'t>(scores: &[Num<'t>], values: &[&[Num<'t>]]) -> Row<'t> {
    assert_eq!(scores.len(), values.len());
    // The largest score is taken off as a plain number: the softmax does not depend on it.
    let largest = scores.iter().map(|s| s.value()).fold(f64::NEG_INFINITY, f64::max);
    let weights: Row<'t> = scores.iter().map(|s| exp(*s + -largest)).collect();
    let sum: Num<'t> = weights.iter().copied().sum();
    let column = |c: usize| weights.iter().zip(values).map(|(w, v)| *w * v[c]).sum::<Num<'t>>() / sum;
    (0..values[0].len()).map(column).collect()
}
