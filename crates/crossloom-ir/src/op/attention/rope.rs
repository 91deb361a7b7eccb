//! `rope`: rotary position embedding, half rotation (Su et al., arXiv 2104.09864, in the layout of Llama).

use crate::attrs::Attrs;
use crate::grad::GradCx;
use crate::op::spec::{OpSpec, ensure};
use crate::op::{Iota, ToFloat, UnaryKind, check};
use crate::{Builder, Cost, IrError, Real, Tensor, TensorType, Value};

/// Turns, in every head of `x [B, T, W]` (`W` a multiple of `head_dim`), the pair of columns `(i, i + head_dim/2)` by
/// the angle `position * theta^(-2 i / head_dim)`. Second operand: `positions [B, T]` (i32).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rope {
    /// Width of a head; even.
    pub head_dim: usize,
    /// Base of the wave lengths.
    pub theta: f64,
    /// Turns the other way, which undoes it and is its gradient.
    pub inverse: bool,
}

impl OpSpec for Rope {
    const MNEMONICS: &'static [&'static str] = &["rope"];

    fn attrs(&self) -> Attrs {
        Attrs::new().int("head_dim", self.head_dim).float("theta", self.theta).flag("inverse", self.inverse)
    }

    fn from_attrs(_: &str, attrs: &mut Attrs) -> Result<Self, String> {
        Ok(Self {
            head_dim: attrs.take_int("head_dim")?,
            theta: attrs.take_float("theta")?,
            inverse: attrs.take_flag("inverse")?,
        })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        check::count(inputs, &["x", "positions"])?;
        let x = inputs[0];
        check::float_axes("x", x, 3)?;
        ensure(self.head_dim > 0 && self.head_dim.is_multiple_of(2), || {
            format!("attribute `head_dim` is {}, must be even and not 0", self.head_dim)
        })?;
        ensure(x.last().is_multiple_of(self.head_dim), || {
            format!("width {} of x is no multiple of the head width {}", x.last(), self.head_dim)
        })?;
        ensure(self.theta.is_finite() && self.theta > 0.0, || {
            format!("attribute `theta` is {}, must be positive", self.theta)
        })?;
        check::is("positions", inputs[1], &TensorType::i32(&x.shape[..2]))?;
        Ok(vec![x.clone()])
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let [x, positions] = [inputs[0], inputs[1]];
        let (width, half) = (x.last(), self.head_dim / 2);
        let value = |i: usize| {
            let column = i % width % self.head_dim;
            let exponent = -2.0 * (column % half) as f64 / self.head_dim as f64;
            let angle = positions.int(i / width) as f64 * self.theta.powf(exponent);
            let (sin, cos) = if self.inverse { (-angle).sin_cos() } else { angle.sin_cos() };
            if column < half {
                x.at(i) * cos - x.at(i + half) * sin
            } else {
                x.at(i) * cos + x.at(i - half) * sin
            }
        };
        Ok(vec![Tensor::from_fn(x.shape.clone(), value)])
    }

    fn gradient(&self, cx: &mut GradCx<'_>) -> Result<(), IrError> {
        let positions = cx.input(1);
        let Some(dy) = cx.out_grad(0) else { return Ok(()) };
        let back = Self { inverse: !self.inverse, ..*self };
        cx.add_with(0, |b| b.one(back, &[dy, positions]))
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let shape = b.func().shape(inputs[0]).to_vec();
        let half = self.head_dim / 2;
        let waves = vec![shape[0], shape[1], half];
        let index = b.one(Iota { shape: waves.clone(), axis: 2 }, &[])?;
        let power = b.affine(index, -2.0 / self.head_dim as f64 * self.theta.log2(), 0.0)?;
        let frequency = b.unary(UnaryKind::Exp2, power)?;
        let positions = b.one(ToFloat, &[inputs[1]])?;
        let positions = b.broadcast(positions, &waves, &[0, 1])?;
        let mut angle = b.mul(positions, frequency)?;
        if self.inverse {
            angle = b.neg(angle)?;
        }
        let sin = b.sin(angle)?;
        let quarter = b.affine(angle, 1.0, std::f64::consts::FRAC_PI_2)?;
        let cos = b.sin(quarter)?;
        let heads = [shape[0], shape[1], shape[2] / self.head_dim, half];
        let sin = b.broadcast(sin, &heads, &[0, 1, 3])?;
        let cos = b.broadcast(cos, &heads, &[0, 1, 3])?;
        let x = b.reshape(inputs[0], &[heads[0], heads[1], heads[2], self.head_dim])?;
        let first = b.slice(x, 3, 0, half)?;
        let second = b.slice(x, 3, half, half)?;
        let stays = b.mul(first, cos)?;
        let leaves = b.mul(second, sin)?;
        let new_first = b.sub(stays, leaves)?;
        let stays = b.mul(second, cos)?;
        let arrives = b.mul(first, sin)?;
        let new_second = b.add(stays, arrives)?;
        let y = b.concat(&[new_first, new_second], 3)?;
        Ok(Some(vec![b.reshape(y, &shape)?]))
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        // Two products and a sum per element; the angles (product, sine, cosine) once per row and wave.
        let angles = inputs[1].elements() * self.head_dim / 2;
        Cost::new((3 * inputs[0].elements() + 3 * angles) as u64, inputs, outputs)
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        vec![(0, 0)]
    }
}
