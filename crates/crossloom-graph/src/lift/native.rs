//! luminal's own primitives.

use std::any::Any;

use crossloom_ir::Value;
use crossloom_ir::op::{Binary, BinaryKind, Reduce, ReduceKind, Reshape, Unary, UnaryKind};
use luminal::op::{Add, Contiguous, Exp2, LessThan, Log2, MaxReduce, Mod, Mul, Recip, Sin, Sqrt, SumReduce};

use super::view::View;
use super::{Failure, Lifter};
use crate::wiring::Source;

/// A primitive, told apart by how it treats views.
#[derive(Clone, Copy)]
pub(super) enum Native {
    /// Element by element on the buffer; the view passes on to the consumers.
    Unary(UnaryKind),
    /// Element by element through both views.
    Binary(BinaryKind),
    /// Along one axis of the view.
    Reduce(ReduceKind, usize),
    /// The view, copied.
    Contiguous,
}

impl Native {
    /// The primitive behind an operator, if it is one.
    pub(super) fn of(any: &dyn Any) -> Option<Self> {
        let unary = [
            (any.is::<Log2>(), UnaryKind::Log2),
            (any.is::<Exp2>(), UnaryKind::Exp2),
            (any.is::<Sin>(), UnaryKind::Sin),
            (any.is::<Sqrt>(), UnaryKind::Sqrt),
            (any.is::<Recip>(), UnaryKind::Recip),
        ];
        let binary = [
            (any.is::<Add>(), BinaryKind::Add),
            (any.is::<Mul>(), BinaryKind::Mul),
            (any.is::<Mod>(), BinaryKind::Mod),
            (any.is::<LessThan>(), BinaryKind::LessThan),
        ];
        let unary = unary.into_iter().find(|(is, _)| *is).map(|(_, kind)| Self::Unary(kind));
        let binary = || binary.into_iter().find(|(is, _)| *is).map(|(_, kind)| Self::Binary(kind));
        let sum = || any.downcast_ref::<SumReduce>().map(|op| Self::Reduce(ReduceKind::Sum, op.0));
        let max = || any.downcast_ref::<MaxReduce>().map(|op| Self::Reduce(ReduceKind::Max, op.0));
        let contiguous = || any.is::<Contiguous>().then_some(Self::Contiguous);
        unary.or_else(binary).or_else(sum).or_else(max).or_else(contiguous)
    }

    fn arity(self) -> usize {
        if matches!(self, Self::Binary(_)) { 2 } else { 1 }
    }
}

impl Lifter<'_> {
    pub(super) fn native(&mut self, native: Native, sources: &[Source<'_>]) -> Result<Value, Failure> {
        if sources.len() != native.arity() {
            return Err(format!("takes {} operands, {} are connected", native.arity(), sources.len()).into());
        }
        match native {
            Native::Unary(kind) => {
                let buffer = self.buffer(&sources[0])?;
                let buffer = self.float(buffer)?;
                self.one(Unary(kind), &[buffer])
            }
            Native::Binary(kind) => {
                let x = self.viewed(&sources[0])?;
                let y = self.viewed(&sources[1])?;
                let y = self.aligned(x, y)?;
                self.one(Binary(kind), &[x, y])
            }
            Native::Reduce(kind, axis) => {
                let view = View::read(sources[0].tracker, self.graph)?;
                view.check_reduce(kind, axis)?;
                let x = self.through(&sources[0], &view)?;
                self.one(Reduce { kind, axes: vec![axis] }, &[x])
            }
            Native::Contiguous => self.viewed(&sources[0]),
        }
    }

    /// luminal pairs elements by flat index, whatever the shapes.
    fn aligned(&mut self, x: Value, y: Value) -> Result<Value, Failure> {
        let (x, y_ty) = (self.done.func.ty(x), self.done.func.ty(y));
        if x.shape == y_ty.shape {
            return Ok(y);
        }
        if x.elements() != y_ty.elements() {
            return Err(format!("operands {x} and {y_ty} have different numbers of elements").into());
        }
        let shape = x.shape.clone();
        self.one(Reshape { shape }, &[y])
    }
}
