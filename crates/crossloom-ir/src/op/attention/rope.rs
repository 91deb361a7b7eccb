//! `rope`: rotary position embedding, half rotation (Su et al., arXiv 2104.09864, in the layout of Llama).

use crate::attrs::Attrs;
use crate::grad::GradCx;
use crate::op::spec::{OpSpec, ensure};
use crate::op::{Iota, ToFloat, UnaryKind, check};
use crate::{Builder, Cost, IrError, Real, Tensor, TensorType, Value};

/// Turns, in every head of `x [B, T, W]` (`W` a multiple of `head_dim`), the pair of columns `(i, i + head_dim/2)` by
/// the angle `position * theta^(-2 i / head_dim)`. Second operand: `positions [B, T]` (i32), or `[B, T, 3]` with `sections`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rope {
    /// Width of a head; even.
    pub head_dim: usize,
    /// Base of the wave lengths.
    pub theta: f64,
    /// Turns the other way, which undoes it and is its gradient.
    pub inverse: bool,
    /// Where a position has three numbers (time, row, column): how many pairs each of them turns. They take turns, from the
    /// first pair on; pairs behind the last of its number's go to time (interleaved M-RoPE, as in Qwen3-VL).
    pub sections: Option<[usize; 3]>,
}

impl Rope {
    /// Numbers that a position has.
    pub fn axes(&self) -> usize {
        if self.sections.is_some() { 3 } else { 1 }
    }

    /// Which of its position's numbers turns a pair.
    pub fn axis(&self, pair: usize) -> usize {
        let Some(sections) = self.sections else { return 0 };
        let (round, axis) = (pair / 3, pair % 3);
        if round < sections[axis] { axis } else { 0 }
    }

    /// Whether every section has as many pairs as it says.
    fn has_sections(&self) -> bool {
        let mut found = [0; 3];
        (0..self.head_dim / 2).for_each(|pair| found[self.axis(pair)] += 1);
        self.sections.is_none_or(|sections| sections == found)
    }
}

impl OpSpec for Rope {
    const MNEMONICS: &'static [&'static str] = &["rope"];

    fn attrs(&self) -> Attrs {
        let attrs = Attrs::new()
            .int("head_dim", self.head_dim)
            .float("theta", self.theta)
            .flag("inverse", self.inverse);
        match self.sections {
            Some(sections) => attrs.ints("sections", &sections),
            None => attrs,
        }
    }

    fn from_attrs(_: &str, attrs: &mut Attrs) -> Result<Self, String> {
        Ok(Self {
            head_dim: attrs.take_int("head_dim")?,
            theta: attrs.take_float("theta")?,
            inverse: attrs.take_flag("inverse")?,
            sections: attrs.take_ints_if_there("sections")?.map(three).transpose()?,
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
        ensure(self.has_sections(), || {
            format!("attribute `sections` does not divide the {} pairs of a head in turns", self.head_dim / 2)
        })?;
        let mut positions = x.shape[..2].to_vec();
        positions.extend(self.sections.map(|sections| sections.len()));
        check::is("positions", inputs[1], &TensorType::i32(positions))?;
        Ok(vec![x.clone()])
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let [x, positions] = [inputs[0], inputs[1]];
        let (width, half) = (x.last(), self.head_dim / 2);
        let value = |i: usize| {
            let column = i % width % self.head_dim;
            let pair = column % half;
            let exponent = -2.0 * pair as f64 / self.head_dim as f64;
            let position = positions.int(i / width * self.axes() + self.axis(pair));
            let angle = position as f64 * self.theta.powf(exponent);
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
        let positions = match self.sections {
            None => b.broadcast(positions, &waves, &[0, 1])?,
            Some(_) => self.in_turns(b, positions)?,
        };
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
        let angles = inputs[1].elements() / self.axes() * self.head_dim / 2;
        Cost::new((3 * inputs[0].elements() + 3 * angles) as u64, inputs, outputs)
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        vec![(0, 0)]
    }
}

impl Rope {
    /// `positions [B, T, 3]` to that of every pair, `[B, T, head_dim / 2]`: pairs that take turns alike are repeated as one.
    fn in_turns(&self, b: &mut Builder<'_>, positions: Value) -> Result<Value, IrError> {
        let shape = b.func().shape(positions)[..2].to_vec();
        let half = self.head_dim / 2;
        let turn = |round: usize| [0, 1, 2].map(|place| self.axis(3 * round + place));
        let (mut parts, mut round) = (Vec::new(), 0);
        while 3 * round < half {
            let axes = turn(round);
            let rounds = (round..half.div_ceil(3)).take_while(|&next| turn(next) == axes).count();
            let columns =
                axes.map(|axis| b.slice(positions, 2, axis, 1)).into_iter().collect::<Result<Vec<_>, _>>()?;
            let once = b.concat(&columns, 2)?;
            let repeated = b.broadcast(once, &[shape[0], shape[1], rounds, 3], &[0, 1, 3])?;
            let repeated = b.reshape(repeated, &[shape[0], shape[1], 3 * rounds])?;
            let pairs = (3 * rounds).min(half - 3 * round);
            parts.push(b.slice(repeated, 2, 0, pairs)?);
            round += rounds;
        }
        if let [only] = parts[..] { Ok(only) } else { b.concat(&parts, 2) }
    }
}

fn three(sections: Vec<usize>) -> Result<[usize; 3], String> {
    sections.try_into().map_err(|_| "attribute `sections` must have three numbers".to_owned())
}
