//! Appending instructions with little ceremony.

use crate::op::{
    Affine, Binary, BinaryKind, Broadcast, Concat, Constant, Convert, Linear, Matmul, Op, Pad, Reduce,
    ReduceKind, Reshape, Slice, Transpose, Unary, UnaryKind,
};
use crate::{DType, Func, IrError, Scope, Value};

/// Appends to a function, in a current scope.
#[derive(Debug)]
pub struct Builder<'f> {
    func: &'f mut Func,
    scope: Scope,
}

type One = Result<Value, IrError>;

impl<'f> Builder<'f> {
    /// A builder in the root scope.
    pub fn new(func: &'f mut Func) -> Self {
        Self { func, scope: Scope::default() }
    }

    /// The function so far.
    pub fn func(&self) -> &Func {
        self.func
    }

    /// The function so far, to add parameters and results.
    pub fn func_mut(&mut self) -> &mut Func {
        self.func
    }

    /// The scope that new instructions get.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Sets the scope of new instructions; returns the one before.
    pub fn set_scope(&mut self, scope: Scope) -> Scope {
        std::mem::replace(&mut self.scope, scope)
    }

    /// Appends an op with any number of outputs.
    ///
    /// # Errors
    /// The op's type rule does not hold.
    pub fn push(&mut self, op: impl Into<Op>, inputs: &[Value]) -> Result<Vec<Value>, IrError> {
        let scope = self.scope.clone();
        self.func.push(op, inputs, &scope)
    }

    /// Appends an op whose outputs are to have those element types; see [`Func::push_as`].
    ///
    /// # Errors
    /// The op's type rule does not hold, or does not allow those types.
    pub fn push_as(
        &mut self,
        op: impl Into<Op>,
        inputs: &[Value],
        asked: &[DType],
    ) -> Result<Vec<Value>, IrError> {
        let scope = self.scope.clone();
        self.func.push_as(op, inputs, asked, &scope)
    }

    /// Appends an op of one output, which is to have that element type.
    ///
    /// # Errors
    /// As [`Builder::push_as`].
    pub fn one_as(&mut self, op: impl Into<Op>, inputs: &[Value], asked: DType) -> One {
        let op = op.into();
        let mnemonic = op.mnemonic();
        let outputs = self.push_as(op, inputs, &[asked])?;
        outputs.first().copied().ok_or_else(|| IrError::new("has no output").with_op(mnemonic))
    }

    /// The float `x` as that float type; `x` itself if it is of that type.
    ///
    /// # Errors
    /// One of the types is no float type.
    pub fn convert(&mut self, x: Value, dtype: DType) -> One {
        if self.func.dtype(x) == dtype { Ok(x) } else { self.one_as(Convert, &[x], dtype) }
    }

    /// Appends an op and returns its first output.
    ///
    /// # Errors
    /// The op's type rule does not hold.
    pub fn one(&mut self, op: impl Into<Op>, inputs: &[Value]) -> One {
        let op = op.into();
        let mnemonic = op.mnemonic();
        let outputs = self.push(op, inputs)?;
        outputs.first().copied().ok_or_else(|| IrError::new("has no output").with_op(mnemonic))
    }
}

/// Shorthands, one per common op. Each fails when the op's type rule does not hold.
#[allow(missing_docs, reason = "each is the op of its name; the ops are documented")]
impl Builder<'_> {
    pub fn unary(&mut self, kind: UnaryKind, x: Value) -> One {
        self.one(Unary(kind), &[x])
    }

    pub fn binary(&mut self, kind: BinaryKind, x: Value, y: Value) -> One {
        self.one(Binary(kind), &[x, y])
    }

    pub fn add(&mut self, x: Value, y: Value) -> One {
        self.binary(BinaryKind::Add, x, y)
    }

    pub fn sub(&mut self, x: Value, y: Value) -> One {
        self.binary(BinaryKind::Sub, x, y)
    }

    pub fn mul(&mut self, x: Value, y: Value) -> One {
        self.binary(BinaryKind::Mul, x, y)
    }

    pub fn div(&mut self, x: Value, y: Value) -> One {
        self.binary(BinaryKind::Div, x, y)
    }

    pub fn neg(&mut self, x: Value) -> One {
        self.affine(x, -1.0, 0.0)
    }

    pub fn exp(&mut self, x: Value) -> One {
        self.unary(UnaryKind::Exp, x)
    }

    pub fn sin(&mut self, x: Value) -> One {
        self.unary(UnaryKind::Sin, x)
    }

    pub fn recip(&mut self, x: Value) -> One {
        self.unary(UnaryKind::Recip, x)
    }

    pub fn sigmoid(&mut self, x: Value) -> One {
        self.unary(UnaryKind::Sigmoid, x)
    }

    pub fn affine(&mut self, x: Value, mul: f64, add: f64) -> One {
        self.one(Affine { mul, add }, &[x])
    }

    pub fn constant(&mut self, value: f64, shape: &[usize]) -> One {
        self.one(Constant { value, shape: shape.to_vec() }, &[])
    }

    pub fn zeros_like(&mut self, x: Value) -> One {
        let shape = self.func.shape(x).to_vec();
        self.constant(0.0, &shape)
    }

    pub fn reduce_sum(&mut self, x: Value, axes: &[usize]) -> One {
        self.one(Reduce { kind: ReduceKind::Sum, axes: axes.to_vec() }, &[x])
    }

    pub fn reduce_max(&mut self, x: Value, axes: &[usize]) -> One {
        self.one(Reduce { kind: ReduceKind::Max, axes: axes.to_vec() }, &[x])
    }

    pub fn reshape(&mut self, x: Value, shape: &[usize]) -> One {
        if self.func.shape(x) == shape {
            return Ok(x);
        }
        self.one(Reshape { shape: shape.to_vec() }, &[x])
    }

    pub fn transpose(&mut self, x: Value, perm: &[usize]) -> One {
        self.one(Transpose { perm: perm.to_vec() }, &[x])
    }

    pub fn broadcast(&mut self, x: Value, shape: &[usize], axes: &[usize]) -> One {
        if self.func.shape(x) == shape {
            return Ok(x);
        }
        self.one(Broadcast { shape: shape.to_vec(), axes: axes.to_vec() }, &[x])
    }

    pub fn slice(&mut self, x: Value, axis: usize, start: usize, len: usize) -> One {
        self.one(Slice { axis, start, len }, &[x])
    }

    pub fn pad(&mut self, x: Value, axis: usize, before: usize, after: usize) -> One {
        self.one(Pad { axis, before, after }, &[x])
    }

    pub fn concat(&mut self, parts: &[Value], axis: usize) -> One {
        self.one(Concat { axis }, parts)
    }

    pub fn matmul(&mut self, a: Value, b: Value, transpose_a: bool, transpose_b: bool) -> One {
        self.one(Matmul { transpose_a, transpose_b }, &[a, b])
    }

    pub fn linear(&mut self, x: Value, w: Value, bias: Option<Value>) -> One {
        let op = Linear { bias: bias.is_some(), ..Linear::default() };
        let inputs: Vec<Value> = [x, w].into_iter().chain(bias).collect();
        self.one(op, &inputs)
    }
}
