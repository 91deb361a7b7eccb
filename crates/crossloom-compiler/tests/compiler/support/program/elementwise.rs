//! Element-wise ops.

use crossloom_ir::Value;
use crossloom_ir::op::{Activation, BinaryKind, UnaryKind};

use super::Maker;

impl Maker {
    pub(super) fn unary(&mut self) {
        let x = self.any();
        let smooth = [
            UnaryKind::Tanh,
            UnaryKind::Sigmoid,
            UnaryKind::Sin,
            UnaryKind::Act(Activation::Silu),
            UnaryKind::Act(Activation::GeluTanh),
            UnaryKind::Act(Activation::GeluErf),
            UnaryKind::Act(Activation::QuickGelu),
            UnaryKind::Exp,
            UnaryKind::Sqrt,
            UnaryKind::Rsqrt,
            UnaryKind::Log,
            UnaryKind::Recip,
        ];
        let kind = self.one_of(&smooth);
        let domain = match kind {
            UnaryKind::Exp => self.b().unary(UnaryKind::Tanh, x).unwrap(),
            UnaryKind::Sqrt | UnaryKind::Rsqrt | UnaryKind::Log | UnaryKind::Recip => {
                let b = &mut self.b();
                let squares = b.mul(x, x).unwrap();
                b.affine(squares, 1.0, 0.5).unwrap()
            }
            _ => x,
        };
        let y = self.b().unary(kind, domain).unwrap();
        self.keep(y);
    }

    pub(super) fn affine(&mut self) {
        let x = self.any();
        let (mul, add) =
            self.one_of(&[(1.0, 0.0), (-1.0, 0.0), (0.5, 0.0), (0.25, 1.0), (1.0, 0.25), (0.0, 0.5)]);
        let y = self.b().affine(x, mul, add).unwrap();
        self.keep(y);
    }

    pub(super) fn kind(&mut self) -> BinaryKind {
        let kinds = [
            BinaryKind::Add,
            BinaryKind::Add,
            BinaryKind::Sub,
            BinaryKind::Mul,
            BinaryKind::Mul,
            BinaryKind::Div,
            BinaryKind::Min,
            BinaryKind::Max,
            BinaryKind::LessThan,
        ];
        self.one_of(&kinds)
    }

    pub(super) fn combine(&mut self, kind: BinaryKind, x: Value, y: Value) {
        let y = if kind == BinaryKind::Div {
            let b = &mut self.b();
            let squares = b.mul(y, y).unwrap();
            b.affine(squares, 1.0, 0.5).unwrap()
        } else {
            y
        };
        let z = self.b().binary(kind, x, y).unwrap();
        // Products of products grow beyond what a difference quotient can follow.
        let z = if kind == BinaryKind::Mul && self.flag() {
            self.b().unary(UnaryKind::Tanh, z).unwrap()
        } else {
            z
        };
        self.keep(z);
    }

    pub(super) fn binary(&mut self) {
        let x = self.any();
        let shape = self.shape(x);
        let y = self.of_shape(&shape).unwrap_or(x);
        let kind = self.kind();
        self.combine(kind, x, y);
    }

    pub(super) fn with_constant(&mut self) {
        let x = self.any();
        let shape = self.shape(x);
        let number = self.one_of(&[0.0, 1.0, 0.5, -2.0]);
        let c = self.b().constant(number, &shape).unwrap();
        let kind = self.kind();
        if self.flag() {
            self.combine(kind, c, x);
        } else {
            self.combine(kind, x, c);
        }
        if self.pick(4) == 0 {
            self.keep(c);
        }
    }

    pub(super) fn with_broadcast(&mut self) {
        let x = self.rows();
        let shape = self.shape(x);
        let rank = shape.len();
        let (source, axes): (Value, Vec<usize>) = match self.pick(4) {
            0 => (self.weight(&[]), vec![]),
            1 => (self.weight(&shape[rank - 1..]), vec![rank - 1]),
            2 => (self.b().reduce_sum(x, &[rank - 1]).unwrap(), (0..rank - 1).collect()),
            _ => (self.weight(&shape[..1]), vec![0]),
        };
        let y = self.b().broadcast(source, &shape, &axes).unwrap();
        let kind = self.kind();
        self.combine(kind, x, y);
        if self.pick(4) == 0 {
            self.keep(y);
        }
    }
}
