//! Shorthands, one per common op, as in the IR's own builder.

use crossloom_ir::op::{
    Affine, Binary, BinaryKind, Broadcast, Concat, Constant, Linear, Matmul, Pad, Reduce, ReduceKind,
    Reshape, Slice, Transpose, Unary, UnaryKind,
};

use super::{GraphBuilder, Tensor};
use crate::GraphError;

type One = Result<Tensor, GraphError>;

/// Shorthands. Each fails when the op's type rule does not hold.
#[allow(missing_docs, reason = "each is the op of its name; the ops are documented")]
impl GraphBuilder {
    pub fn unary(&mut self, kind: UnaryKind, x: Tensor) -> One {
        self.one(Unary(kind), &[x])
    }

    pub fn binary(&mut self, kind: BinaryKind, x: Tensor, y: Tensor) -> One {
        self.one(Binary(kind), &[x, y])
    }

    pub fn add(&mut self, x: Tensor, y: Tensor) -> One {
        self.binary(BinaryKind::Add, x, y)
    }

    pub fn sub(&mut self, x: Tensor, y: Tensor) -> One {
        self.binary(BinaryKind::Sub, x, y)
    }

    pub fn mul(&mut self, x: Tensor, y: Tensor) -> One {
        self.binary(BinaryKind::Mul, x, y)
    }

    pub fn div(&mut self, x: Tensor, y: Tensor) -> One {
        self.binary(BinaryKind::Div, x, y)
    }

    pub fn affine(&mut self, x: Tensor, mul: f64, add: f64) -> One {
        self.one(Affine { mul, add }, &[x])
    }

    pub fn neg(&mut self, x: Tensor) -> One {
        self.affine(x, -1.0, 0.0)
    }

    pub fn constant(&mut self, value: f64, shape: &[usize]) -> One {
        self.one(Constant { value, shape: shape.to_vec() }, &[])
    }

    pub fn reduce_sum(&mut self, x: Tensor, axes: &[usize]) -> One {
        self.one(Reduce { kind: ReduceKind::Sum, axes: axes.to_vec() }, &[x])
    }

    pub fn reduce_max(&mut self, x: Tensor, axes: &[usize]) -> One {
        self.one(Reduce { kind: ReduceKind::Max, axes: axes.to_vec() }, &[x])
    }

    pub fn reshape(&mut self, x: Tensor, shape: &[usize]) -> One {
        if self.lookup(x).is_some_and(|ty| ty.shape == shape) {
            return Ok(x);
        }
        self.one(Reshape { shape: shape.to_vec() }, &[x])
    }

    pub fn transpose(&mut self, x: Tensor, perm: &[usize]) -> One {
        self.one(Transpose { perm: perm.to_vec() }, &[x])
    }

    pub fn broadcast(&mut self, x: Tensor, shape: &[usize], axes: &[usize]) -> One {
        if self.lookup(x).is_some_and(|ty| ty.shape == shape) {
            return Ok(x);
        }
        self.one(Broadcast { shape: shape.to_vec(), axes: axes.to_vec() }, &[x])
    }

    pub fn slice(&mut self, x: Tensor, axis: usize, start: usize, len: usize) -> One {
        self.one(Slice { axis, start, len }, &[x])
    }

    pub fn pad(&mut self, x: Tensor, axis: usize, before: usize, after: usize) -> One {
        self.one(Pad { axis, before, after }, &[x])
    }

    pub fn concat(&mut self, parts: &[Tensor], axis: usize) -> One {
        self.one(Concat { axis }, parts)
    }

    pub fn matmul(&mut self, a: Tensor, b: Tensor, transpose_a: bool, transpose_b: bool) -> One {
        self.one(Matmul { transpose_a, transpose_b }, &[a, b])
    }

    pub fn linear(&mut self, x: Tensor, w: Tensor, bias: Option<Tensor>) -> One {
        let op = Linear { bias: bias.is_some(), ..Linear::default() };
        let inputs: Vec<Tensor> = [x, w].into_iter().chain(bias).collect();
        self.one(op, &inputs)
    }
}
