//! Movements, reductions, products.

use crossloom_ir::Value;
use crossloom_ir::op::UnaryKind;

use super::{B, D, Maker, T};

impl Maker {
    pub(super) fn reduce(&mut self) {
        let x = self.rows();
        let axis = self.pick(self.func.shape(x).len());
        let y =
            if self.pick(3) == 0 { self.b().reduce_max(x, &[axis]) } else { self.b().reduce_sum(x, &[axis]) };
        self.keep(y.unwrap());
    }

    pub(super) fn reshape(&mut self) {
        let x = self.any();
        let shape = self.shape(x);
        let elements: usize = shape.iter().product();
        let to = match self.pick(4) {
            0 => vec![elements],
            1 if elements == B * T * D => vec![B, T, D],
            2 if elements.is_multiple_of(D) => vec![elements / D, D],
            3 => vec![1, elements],
            _ => shape.iter().rev().copied().collect(),
        };
        let y = self.b().reshape(x, &to).unwrap();
        self.keep(y);
    }

    pub(super) fn transpose(&mut self) {
        let x = self.any();
        let mut perm: Vec<usize> = (0..self.func.shape(x).len()).collect();
        for i in (1..perm.len()).rev() {
            let j = self.pick(i + 1);
            perm.swap(i, j);
        }
        let y = self.b().transpose(x, &perm).unwrap();
        self.keep(y);
    }

    /// A part along some axis.
    pub(super) fn part(&mut self, x: Value) -> Value {
        let shape = self.shape(x);
        let axis = self.pick(shape.len());
        let start = self.pick(shape[axis]);
        let len = 1 + self.pick(shape[axis] - start);
        self.b().slice(x, axis, start, len).unwrap()
    }

    pub(super) fn slice(&mut self) {
        let x = self.rows();
        let y = self.part(x);
        self.keep(y);
    }

    pub(super) fn concat(&mut self) {
        let x = self.rows();
        let shape = self.shape(x);
        let axis = self.pick(shape.len());
        if self.flag() {
            // Taken apart and put together again.
            let cut = self.pick(shape[axis] + 1);
            let b = &mut self.b();
            let parts =
                [b.slice(x, axis, 0, cut).unwrap(), b.slice(x, axis, cut, shape[axis] - cut).unwrap()];
            let y = b.concat(&parts, axis).unwrap();
            self.keep(y);
        } else if shape.iter().product::<usize>() < 100 {
            let other = self.of_shape(&shape).unwrap_or(x);
            let y = self.b().concat(&[x, other], axis).unwrap();
            self.keep(y);
        }
    }

    pub(super) fn pad(&mut self) {
        let x = self.rows();
        let axis = self.pick(self.func.shape(x).len());
        let (before, after) = (self.pick(2), self.pick(2));
        if self.shape(x).iter().product::<usize>() < 100 {
            let y = self.b().pad(x, axis, before, after).unwrap();
            self.keep(y);
        }
    }

    pub(super) fn matmul(&mut self) {
        let x = self.any();
        if self.func.shape(x).len() < 2 {
            return;
        }
        let first = self.flag();
        let y = self.b().matmul(x, x, first, !first).unwrap();
        let y = self.b().unary(UnaryKind::Tanh, y).unwrap();
        self.keep(y);
    }
}
