//! How a product's operands lie when sums read them.

use half::bf16;

use super::{DEPTH, LONG, STRIP};
use crate::amx;
use crate::element::{Element, is};
use crate::isa::{self, Isa};

/// What one step of a sum takes of both operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A number of each, in `f32`.
    Numbers,
    /// A pair of `bf16` of each, one word.
    Pairs,
    /// A run of [`amx::PAIRS`] such pairs; depths are filled up with zeros.
    Tiles,
}

/// Values of the memory for a strip of `A`, of either form: [`STRIP`] rows of [`LONG`] numbers, or [`amx::SIDE`] rows of pairs of [`DEPTH`].
pub(super) const STRIP_MEMORY: usize = {
    let (numbers, pairs) = (STRIP * LONG, amx::SIDE * DEPTH / 2);
    if numbers > pairs { numbers } else { pairs }
};

impl Form {
    /// The form in which products of these types are fastest on this machine.
    pub(super) fn of<A: Element, B: Element>() -> Self {
        if is::<A, bf16>() && is::<B, bf16>() {
            Self::of_pairs().unwrap_or(Self::Numbers)
        } else {
            Self::Numbers
        }
    }

    /// The form for pairs, where the instruction set multiplies them.
    pub(super) fn of_pairs() -> Option<Self> {
        match isa::current().0 {
            Isa::Amx => Some(Self::Tiles),
            Isa::Avx512Bf16 => Some(Self::Pairs),
            _ => None,
        }
    }

    /// Rows of a packed panel of that depth, and words of a row of a packed strip.
    pub(super) fn steps(self, depth: usize) -> usize {
        match self {
            Self::Numbers => depth,
            Self::Pairs => depth.div_ceil(2),
            Self::Tiles => depth.div_ceil(2).next_multiple_of(amx::PAIRS),
        }
    }

    /// Multiply-adds of one task at least, about 20 microseconds.
    pub(super) fn task_work(self) -> usize {
        match self {
            Self::Numbers => 1 << 20,
            Self::Pairs => 1 << 21,
            Self::Tiles => 1 << 23,
        }
    }

    /// Rows of `A` that are taken through a panel at once.
    pub(super) fn strip(self) -> usize {
        match self {
            Self::Numbers | Self::Pairs => STRIP,
            Self::Tiles => amx::SIDE,
        }
    }
}
