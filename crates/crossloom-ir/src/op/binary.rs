//! Element-wise ops of two operands of one shape: `add`, `mul` and their kin.

use super::spec::{OpSpec, ensure, operands};
use crate::attrs::Attrs;
use crate::grad::GradCx;
use crate::{Builder, DType, IrError, Real, Tensor, TensorType, Value};

/// Which function of two elements is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryKind {
    /// Sum (primitive).
    Add,
    /// Product (primitive).
    Mul,
    /// Remainder with the sign of the dividend (primitive).
    Mod,
    /// 1 where the first is less than the second, else 0 (primitive); has no gradient.
    LessThan,
    /// Difference.
    Sub,
    /// Quotient.
    Div,
    /// The smaller one; NaN where one is NaN.
    Min,
    /// The larger one; NaN where one is NaN.
    Max,
}

const NAMED: [(&str, BinaryKind); 8] = [
    ("add", BinaryKind::Add),
    ("mul", BinaryKind::Mul),
    ("mod", BinaryKind::Mod),
    ("less_than", BinaryKind::LessThan),
    ("sub", BinaryKind::Sub),
    ("div", BinaryKind::Div),
    ("min", BinaryKind::Min),
    ("max", BinaryKind::Max),
];

/// `z = f(x, y)` element by element; both operands have the same type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Binary(pub BinaryKind);

impl BinaryKind {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMED.iter().map(|(_, kind)| *kind)
    }

    /// The printed name.
    pub fn name(self) -> &'static str {
        NAMED.iter().find(|(_, kind)| *kind == self).map_or("binary", |(name, _)| name)
    }

    /// The function of that printed name.
    pub fn from_name(name: &str) -> Option<Self> {
        NAMED.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }

    /// The value at `x` and `y`.
    pub fn value(self, x: f64, y: f64) -> f64 {
        match self {
            Self::Add => x + y,
            Self::Mul => x * y,
            Self::Mod => x % y,
            Self::LessThan => f64::from(u8::from(x < y)),
            Self::Sub => x - y,
            Self::Div => x / y,
            // `f64::min` and `f64::max` would drop a NaN.
            Self::Min | Self::Max if x.is_nan() || y.is_nan() => f64::NAN,
            Self::Min => x.min(y),
            Self::Max => x.max(y),
        }
    }
}

impl OpSpec for Binary {
    const MNEMONICS: &'static [&'static str] =
        &["add", "mul", "mod", "less_than", "sub", "div", "min", "max"];

    fn mnemonic(&self) -> &'static str {
        self.0.name()
    }

    fn from_attrs(mnemonic: &str, _: &mut Attrs) -> Result<Self, String> {
        let kind = BinaryKind::from_name(mnemonic);
        kind.map(Self).ok_or_else(|| format!("there is no element-wise op `{mnemonic}`"))
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        let [x, y] = operands(inputs)?;
        ensure(x.dtype == DType::F32, || format!("needs float operands, not {x}"))?;
        ensure(x == y, || "needs two operands of one type; broadcast explicitly".to_owned())?;
        Ok(vec![x.clone()])
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let [x, y] = [inputs[0], inputs[1]];
        Ok(vec![Tensor::from_fn(x.shape.clone(), |i| self.0.value(x.at(i), y.at(i)))])
    }

    fn gradient(&self, cx: &mut GradCx<'_>) -> Result<(), IrError> {
        let (x, y, z) = (cx.input(0), cx.input(1), cx.output(0));
        let Some(dz) = cx.out_grad(0) else { return Ok(()) };
        match self.0 {
            BinaryKind::Add => {
                cx.add(0, dz)?;
                cx.add(1, dz)
            }
            BinaryKind::Sub => {
                cx.add(0, dz)?;
                cx.add_with(1, |b| b.neg(dz))
            }
            BinaryKind::Mul => {
                cx.add_with(0, |b| b.mul(dz, y))?;
                cx.add_with(1, |b| b.mul(dz, x))
            }
            BinaryKind::Div => {
                cx.add_with(0, |b| b.div(dz, y))?;
                cx.add_with(1, |b| {
                    let ratio = b.div(z, y)?;
                    let product = b.mul(dz, ratio)?;
                    b.neg(product)
                })
            }
            BinaryKind::Min | BinaryKind::Max => {
                // Ties give the whole gradient to the second operand.
                let first = if self.0 == BinaryKind::Min { (x, y) } else { (y, x) };
                let take_x = cx.builder().binary(BinaryKind::LessThan, first.0, first.1)?;
                cx.add_with(0, |b| b.mul(dz, take_x))?;
                cx.add_with(1, |b| {
                    let take_y = b.affine(take_x, -1.0, 1.0)?;
                    b.mul(dz, take_y)
                })
            }
            BinaryKind::LessThan => Ok(()),
            BinaryKind::Mod => {
                // x mod y = x - y trunc(x/y): slope 1 in x, -trunc(x/y) in y.
                cx.add(0, dz)?;
                cx.add_with(1, |b| {
                    let taken = b.sub(z, x)?;
                    let whole = b.div(taken, y)?;
                    b.mul(dz, whole)
                })
            }
        }
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let [x, y] = [inputs[0], inputs[1]];
        let z = match self.0 {
            BinaryKind::Add | BinaryKind::Mul | BinaryKind::Mod | BinaryKind::LessThan => return Ok(None),
            BinaryKind::Sub => {
                let minus = b.neg(y)?;
                b.add(x, minus)?
            }
            BinaryKind::Div => {
                let inverse = b.recip(y)?;
                b.mul(x, inverse)?
            }
            BinaryKind::Min | BinaryKind::Max => {
                let (low, high) = if self.0 == BinaryKind::Min { (x, y) } else { (y, x) };
                let take_x = b.binary(BinaryKind::LessThan, low, high)?;
                let take_y = b.affine(take_x, -1.0, 1.0)?;
                let from_x = b.mul(take_x, x)?;
                let from_y = b.mul(take_y, y)?;
                b.add(from_x, from_y)?
            }
        };
        Ok(Some(vec![z]))
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        vec![(0, 0), (1, 0)]
    }
}
