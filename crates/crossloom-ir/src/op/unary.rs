//! Element-wise ops of one operand: `exp`, `tanh`, `gelu_tanh` and their kin.

use std::f64::consts::{LN_2, LOG2_E};

use super::Activation;
use super::activation::sigmoid;
use super::spec::{OpSpec, ensure, operands};
use crate::attrs::Attrs;
use crate::grad::GradCx;
use crate::{Builder, DType, IrError, Real, Tensor, TensorType, Value};

/// Which function is applied to every element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnaryKind {
    /// Base-2 logarithm (primitive).
    Log2,
    /// Power of two (primitive).
    Exp2,
    /// Sine (primitive).
    Sin,
    /// Square root (primitive).
    Sqrt,
    /// Reciprocal (primitive).
    Recip,
    /// Natural exponential.
    Exp,
    /// Natural logarithm.
    Log,
    /// Reciprocal square root.
    Rsqrt,
    /// Hyperbolic tangent.
    Tanh,
    /// Logistic function.
    Sigmoid,
    /// An activation function.
    Act(Activation),
    /// The derivative of an activation function.
    ActGrad(Activation),
}

/// `y = f(x)` element by element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unary(pub UnaryKind);

const NAMED: [(&str, UnaryKind); 18] = [
    ("log2", UnaryKind::Log2),
    ("exp2", UnaryKind::Exp2),
    ("sin", UnaryKind::Sin),
    ("sqrt", UnaryKind::Sqrt),
    ("recip", UnaryKind::Recip),
    ("exp", UnaryKind::Exp),
    ("log", UnaryKind::Log),
    ("rsqrt", UnaryKind::Rsqrt),
    ("tanh", UnaryKind::Tanh),
    ("sigmoid", UnaryKind::Sigmoid),
    ("gelu_tanh", UnaryKind::Act(Activation::GeluTanh)),
    ("gelu_erf", UnaryKind::Act(Activation::GeluErf)),
    ("quick_gelu", UnaryKind::Act(Activation::QuickGelu)),
    ("silu", UnaryKind::Act(Activation::Silu)),
    ("gelu_tanh_grad", UnaryKind::ActGrad(Activation::GeluTanh)),
    ("gelu_erf_grad", UnaryKind::ActGrad(Activation::GeluErf)),
    ("quick_gelu_grad", UnaryKind::ActGrad(Activation::QuickGelu)),
    ("silu_grad", UnaryKind::ActGrad(Activation::Silu)),
];

impl UnaryKind {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMED.iter().map(|(_, kind)| *kind)
    }

    /// The printed name.
    pub fn name(self) -> &'static str {
        NAMED.iter().find(|(_, kind)| *kind == self).map_or("unary", |(name, _)| name)
    }

    /// The function of that printed name.
    pub fn from_name(name: &str) -> Option<Self> {
        NAMED.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }

    /// The value at `x`.
    pub fn value(self, x: f64) -> f64 {
        match self {
            Self::Log2 => x.log2(),
            Self::Exp2 => x.exp2(),
            Self::Sin => x.sin(),
            Self::Sqrt => x.sqrt(),
            Self::Recip => x.recip(),
            Self::Exp => x.exp(),
            Self::Log => x.ln(),
            Self::Rsqrt => x.sqrt().recip(),
            Self::Tanh => x.tanh(),
            Self::Sigmoid => sigmoid(x),
            Self::Act(act) => act.value(x),
            Self::ActGrad(act) => act.derivative(x),
        }
    }
}

impl OpSpec for Unary {
    const MNEMONICS: &'static [&'static str] = &[
        "log2",
        "exp2",
        "sin",
        "sqrt",
        "recip",
        "exp",
        "log",
        "rsqrt",
        "tanh",
        "sigmoid",
        "gelu_tanh",
        "gelu_erf",
        "quick_gelu",
        "silu",
        "gelu_tanh_grad",
        "gelu_erf_grad",
        "quick_gelu_grad",
        "silu_grad",
    ];

    fn mnemonic(&self) -> &'static str {
        self.0.name()
    }

    fn from_attrs(mnemonic: &str, _: &mut Attrs) -> Result<Self, String> {
        let kind = UnaryKind::from_name(mnemonic);
        kind.map(Self).ok_or_else(|| format!("there is no element-wise op `{mnemonic}`"))
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        let [x] = operands(inputs)?;
        ensure(x.dtype == DType::F32, || format!("needs a float operand, not {x}"))?;
        Ok(vec![x.clone()])
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        Ok(vec![Tensor::from_fn(inputs[0].shape.clone(), |i| self.0.value(inputs[0].at(i)))])
    }

    fn gradient(&self, cx: &mut GradCx<'_>) -> Result<(), IrError> {
        let (x, y) = (cx.input(0), cx.output(0));
        let Some(dy) = cx.out_grad(0) else { return Ok(()) };
        let b = cx.builder();
        let slope = match self.0 {
            UnaryKind::Log2 => {
                let r = b.recip(x)?;
                b.affine(r, LOG2_E, 0.0)?
            }
            UnaryKind::Exp2 => b.affine(y, LN_2, 0.0)?,
            UnaryKind::Sin => {
                let shifted = b.affine(x, 1.0, std::f64::consts::FRAC_PI_2)?;
                b.sin(shifted)?
            }
            UnaryKind::Sqrt => {
                let r = b.recip(y)?;
                b.affine(r, 0.5, 0.0)?
            }
            UnaryKind::Recip => {
                let yy = b.mul(y, y)?;
                b.neg(yy)?
            }
            UnaryKind::Exp => y,
            UnaryKind::Log => b.recip(x)?,
            UnaryKind::Rsqrt => {
                let yy = b.mul(y, y)?;
                let yyy = b.mul(yy, y)?;
                b.affine(yyy, -0.5, 0.0)?
            }
            UnaryKind::Tanh => {
                let yy = b.mul(y, y)?;
                b.affine(yy, -1.0, 1.0)?
            }
            UnaryKind::Sigmoid => {
                let rest = b.affine(y, -1.0, 1.0)?;
                b.mul(y, rest)?
            }
            UnaryKind::Act(act) => b.unary(UnaryKind::ActGrad(act), x)?,
            UnaryKind::ActGrad(_) => {
                cx.expand_first();
                return Ok(());
            }
        };
        let dx = b.mul(dy, slope)?;
        cx.add(0, dx)
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let x = inputs[0];
        let y = match self.0 {
            UnaryKind::Log2 | UnaryKind::Exp2 | UnaryKind::Sin | UnaryKind::Sqrt | UnaryKind::Recip => {
                return Ok(None);
            }
            UnaryKind::Exp => {
                let scaled = b.affine(x, LOG2_E, 0.0)?;
                b.unary(UnaryKind::Exp2, scaled)?
            }
            UnaryKind::Log => {
                let log = b.unary(UnaryKind::Log2, x)?;
                b.affine(log, LN_2, 0.0)?
            }
            UnaryKind::Rsqrt => {
                let root = b.unary(UnaryKind::Sqrt, x)?;
                b.recip(root)?
            }
            UnaryKind::Tanh => {
                // tanh x = 2 sigmoid(2x) - 1
                let twice = b.affine(x, 2.0, 0.0)?;
                let s = b.sigmoid(twice)?;
                b.affine(s, 2.0, -1.0)?
            }
            UnaryKind::Sigmoid => {
                // 1 / (1 + 2^(-x log2 e)); in f32 an overflowing power gives the right limit 0.
                let scaled = b.affine(x, -LOG2_E, 0.0)?;
                let power = b.unary(UnaryKind::Exp2, scaled)?;
                let below = b.affine(power, 1.0, 1.0)?;
                b.recip(below)?
            }
            UnaryKind::Act(act) => expand_activation(b, act, x)?,
            UnaryKind::ActGrad(act) => expand_derivative(b, act, x)?,
        };
        Ok(Some(vec![y]))
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        vec![(0, 0)]
    }
}

fn expand_activation(b: &mut Builder<'_>, act: Activation, x: Value) -> Result<Value, IrError> {
    let gate = match act {
        Activation::GeluTanh => gelu_tanh_gate(b, x)?,
        Activation::GeluErf => normal_cdf(b, x)?,
        Activation::QuickGelu | Activation::Silu => {
            let slope = if act == Activation::Silu { 1.0 } else { 1.702 };
            let scaled = b.affine(x, slope, 0.0)?;
            b.sigmoid(scaled)?
        }
    };
    b.mul(x, gate)
}

fn expand_derivative(b: &mut Builder<'_>, act: Activation, x: Value) -> Result<Value, IrError> {
    // Every activation here is x g(x), so its derivative is g + x g'.
    let (gate, slope) = match act {
        Activation::GeluTanh => {
            // g = (1 + tanh u)/2 = sigmoid(2u), so g' = 2 g (1-g) u'.
            let gate = gelu_tanh_gate(b, x)?;
            let xx = b.mul(x, x)?;
            let c = 2.0 * (2.0 / std::f64::consts::PI).sqrt();
            let inner = b.affine(xx, c * 3.0 * 0.044_715, c)?;
            let rest = b.affine(gate, -1.0, 1.0)?;
            let bell = b.mul(gate, rest)?;
            (gate, b.mul(bell, inner)?)
        }
        Activation::GeluErf => {
            let gate = normal_cdf(b, x)?;
            let xx = b.mul(x, x)?;
            let half = b.affine(xx, -0.5, 0.0)?;
            let bell = b.exp(half)?;
            (gate, b.affine(bell, 1.0 / (2.0 * std::f64::consts::PI).sqrt(), 0.0)?)
        }
        Activation::QuickGelu | Activation::Silu => {
            let a = if act == Activation::Silu { 1.0 } else { 1.702 };
            let scaled = b.affine(x, a, 0.0)?;
            let gate = b.sigmoid(scaled)?;
            let rest = b.affine(gate, -a, a)?;
            (gate, b.mul(gate, rest)?)
        }
    };
    let tail = b.mul(x, slope)?;
    b.add(gate, tail)
}

/// `(1 + tanh u)/2` with `u = sqrt(2/pi)(x + 0.044715 x^3)`, as `sigmoid(2u)`.
fn gelu_tanh_gate(b: &mut Builder<'_>, x: Value) -> Result<Value, IrError> {
    let c = 2.0 * (2.0 / std::f64::consts::PI).sqrt();
    let xx = b.mul(x, x)?;
    let inner = b.affine(xx, c * 0.044_715, c)?;
    let u = b.mul(x, inner)?;
    b.sigmoid(u)
}

/// The normal distribution function by Abramowitz and Stegun 7.1.26 (absolute error below 1.5e-7).
fn normal_cdf(b: &mut Builder<'_>, x: Value) -> Result<Value, IrError> {
    let xx = b.mul(x, x)?;
    let magnitude = b.unary(UnaryKind::Sqrt, xx)?;
    let z = b.affine(magnitude, std::f64::consts::FRAC_1_SQRT_2, 0.0)?;
    let below = b.affine(z, 0.327_591_1, 1.0)?;
    let t = b.recip(below)?;
    let mut poly = b.affine(t, 1.061_405_429, -1.453_152_027)?;
    for coefficient in [1.421_413_741, -0.284_496_736, 0.254_829_592] {
        let raised = b.mul(poly, t)?;
        poly = b.affine(raised, 1.0, coefficient)?;
    }
    let poly = b.mul(poly, t)?;
    let half = b.affine(xx, -0.5, 0.0)?;
    let bell = b.exp(half)?;
    let tail = b.mul(poly, bell)?;
    // Phi(|x|) = 1 - tail/2; Phi(-|x|) = tail/2.
    let zero = b.zeros_like(x)?;
    let negative = b.binary(super::BinaryKind::LessThan, x, zero)?;
    let sign = b.affine(negative, -2.0, 1.0)?;
    let signed = b.mul(sign, tail)?;
    let half_signed = b.affine(signed, -0.5, 0.0)?;
    let positive = b.affine(negative, -1.0, 1.0)?;
    b.add(positive, half_signed)
}
