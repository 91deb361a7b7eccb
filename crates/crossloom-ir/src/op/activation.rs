//! Activation functions: values, derivatives and names, shared by every op that applies one.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// An activation function of a feed-forward block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`.
    GeluTanh,
    /// `x/2 (1 + erf(x/sqrt 2))`.
    GeluErf,
    /// `x sigmoid(1.702 x)`, as in CLIP.
    QuickGelu,
    /// `x sigmoid(x)`.
    Silu,
}

impl Activation {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::GeluTanh, Self::GeluErf, Self::QuickGelu, Self::Silu];

    /// The printed name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GeluTanh => "gelu_tanh",
            Self::GeluErf => "gelu_erf",
            Self::QuickGelu => "quick_gelu",
            Self::Silu => "silu",
        }
    }

    /// The function of that printed name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|act| act.name() == name)
    }

    /// The value at `x`.
    pub fn value(self, x: f64) -> f64 {
        match self {
            Self::GeluTanh => 0.5 * x * (1.0 + gelu_inner(x).tanh()),
            Self::GeluErf => 0.5 * x * (1.0 + libm::erf(x * FRAC_1_SQRT_2)),
            Self::QuickGelu => x * sigmoid(1.702 * x),
            Self::Silu => x * sigmoid(x),
        }
    }

    /// The derivative at `x`.
    pub fn derivative(self, x: f64) -> f64 {
        let gated = |a: f64| {
            let s = sigmoid(a * x);
            s + a * x * s * (1.0 - s)
        };
        match self {
            Self::GeluTanh => {
                let t = gelu_inner(x).tanh();
                let slope = (2.0 / PI).sqrt() * (1.0 + 3.0 * 0.044_715 * x * x);
                0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * slope
            }
            Self::GeluErf => {
                let density = (-0.5 * x * x).exp() / (2.0 * PI).sqrt();
                0.5 * (1.0 + libm::erf(x * FRAC_1_SQRT_2)) + x * density
            }
            Self::QuickGelu => gated(1.702),
            Self::Silu => gated(1.0),
        }
    }
}

fn gelu_inner(x: f64) -> f64 {
    (2.0 / PI).sqrt() * (x + 0.044_715 * x * x * x)
}

/// The logistic function, in the form that does not overflow.
pub fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let e = x.exp();
        e / (1.0 + e)
    }
}
