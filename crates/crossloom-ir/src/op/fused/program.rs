//! The small program of a fused element-wise region and its printed form.

use crate::attrs::{Attr, Attrs};
use crate::op::{BinaryKind, UnaryKind};

/// How an operand is read for the element of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Load {
    /// It has the region's shape.
    Full,
    /// One number per column: it has the extent of the last axis.
    Row,
    /// One number per row: it has all axes but the last.
    Column,
    /// One number.
    Scalar,
}

impl Load {
    /// The printed name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Row => "row",
            Self::Column => "column",
            Self::Scalar => "scalar",
        }
    }

    /// The mode of that printed name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Full, Self::Row, Self::Column, Self::Scalar].into_iter().find(|load| load.name() == name)
    }

    /// The axes of the region's shape that an operand of this mode has.
    pub fn axes(self, rank: usize) -> Vec<usize> {
        match self {
            Self::Full => (0..rank).collect(),
            Self::Row => (rank.saturating_sub(1)..rank).collect(),
            Self::Column => (0..rank.saturating_sub(1)).collect(),
            Self::Scalar => Vec::new(),
        }
    }
}

/// One instruction of a region. Its operands are numbers: those of the region's operands first, then one per step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// `f(x)`.
    Unary(UnaryKind, usize),
    /// `f(x, y)`.
    Binary(BinaryKind, usize, usize),
    /// `mul * x + add`.
    Affine(usize, f64, f64),
}

impl Step {
    /// The numbers it reads.
    pub fn reads(&self) -> Vec<usize> {
        match *self {
            Self::Unary(_, x) | Self::Affine(x, ..) => vec![x],
            Self::Binary(_, x, y) => vec![x, y],
        }
    }

    /// Floating-point operations per element.
    pub const fn flops(&self) -> u64 {
        match self {
            Self::Affine(..) => 2,
            Self::Unary(..) | Self::Binary(..) => 1,
        }
    }

    /// The value, given all values before it.
    pub(super) fn value(&self, before: &[f64]) -> f64 {
        match *self {
            Self::Unary(kind, x) => kind.value(before[x]),
            Self::Binary(kind, x, y) => kind.value(before[x], before[y]),
            Self::Affine(x, mul, add) => mul * before[x] + add,
        }
    }

    /// `[mul, 0, 1]`, `[exp, 2]`, `[affine, 3, 0.5, 0.0]`.
    pub(super) fn to_attr(self) -> Attr {
        let word = |name: &str| Attr::Word(name.to_owned());
        let number = |x: usize| Attr::Int(x as i64);
        Attr::List(match self {
            Self::Unary(kind, x) => vec![word(kind.name()), number(x)],
            Self::Binary(kind, x, y) => vec![word(kind.name()), number(x), number(y)],
            Self::Affine(x, mul, add) => vec![word("affine"), number(x), Attr::Float(mul), Attr::Float(add)],
        })
    }

    /// Reads what [`Step::to_attr`] printed.
    pub(super) fn from_attr(attr: &Attr) -> Result<Self, String> {
        let bad = || format!("attribute `body` cannot hold the step {attr}");
        let Attr::List(items) = attr else { return Err(bad()) };
        let number = |attr: &Attr| match attr {
            Attr::Int(i) => usize::try_from(*i).map_err(|_| bad()),
            _ => Err(bad()),
        };
        let real = |attr: &Attr| match attr {
            Attr::Float(x) => Ok(*x),
            Attr::Int(i) => Ok(*i as f64),
            _ => Err(bad()),
        };
        match items.as_slice() {
            [Attr::Word(name), x, mul, add] if name == "affine" => {
                Ok(Self::Affine(number(x)?, real(mul)?, real(add)?))
            }
            [Attr::Word(name), x] => Ok(Self::Unary(UnaryKind::from_name(name).ok_or_else(bad)?, number(x)?)),
            [Attr::Word(name), x, y] => {
                Ok(Self::Binary(BinaryKind::from_name(name).ok_or_else(bad)?, number(x)?, number(y)?))
            }
            _ => Err(bad()),
        }
    }
}

/// Takes out the list of load modes.
pub(super) fn take_loads(attrs: &mut Attrs) -> Result<Vec<Load>, String> {
    let load = |attr: &Attr| match attr {
        Attr::Word(name) => {
            Load::from_name(name).ok_or_else(|| format!("attribute `loads` cannot hold `{name}`"))
        }
        other => Err(format!("attribute `loads` must list words, not {other}")),
    };
    attrs.take_list("loads")?.iter().map(load).collect()
}
