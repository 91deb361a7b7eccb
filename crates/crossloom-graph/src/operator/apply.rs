//! One IR op as a luminal operator.

use std::fmt;

use crossloom_ir::{IrError, Op, Scope, Tensor, TensorType};
use luminal::op::{InputTensor, Operator};
use luminal::prelude::{ShapeTracker, Tensor as LuminalTensor};

use super::{FailureCell, poison, realize};

/// An IR op with its types and scope; `process` is the op's reference semantics in `f32`, with any number of outputs.
pub struct IrOperator {
    op: Op,
    scope: Scope,
    inputs: Vec<TensorType>,
    outputs: Vec<TensorType>,
    failure: FailureCell,
}

impl IrOperator {
    /// The op applied to operands of those types.
    ///
    /// # Errors
    /// The op's type rule does not hold.
    pub fn new(
        op: impl Into<Op>,
        inputs: Vec<TensorType>,
        scope: Scope,
        failure: FailureCell,
    ) -> Result<Self, IrError> {
        let op = op.into();
        let outputs = op.infer(&inputs.iter().collect::<Vec<_>>()).map_err(|message| {
            let shown: Vec<String> = inputs.iter().map(ToString::to_string).collect();
            let message = format!("{message} (operands: {})", shown.join(", "));
            IrError::new(message).with_op(op.mnemonic()).with_scope(&scope)
        })?;
        Ok(Self { op, scope, inputs, outputs, failure })
    }

    /// The op.
    pub fn op(&self) -> &Op {
        &self.op
    }

    /// The part of the model it belongs to.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Types of the operands.
    pub fn inputs(&self) -> &[TensorType] {
        &self.inputs
    }

    /// Types of the outputs.
    pub fn outputs(&self) -> &[TensorType] {
        &self.outputs
    }

    fn compute(&self, operands: Vec<(InputTensor<'_>, ShapeTracker)>) -> Result<Vec<LuminalTensor>, String> {
        if operands.len() != self.inputs.len() {
            return Err(format!("takes {} operands, {} are connected", self.inputs.len(), operands.len()));
        }
        let mut tensors = Vec::with_capacity(operands.len());
        for ((operand, tracker), ty) in operands.into_iter().zip(&self.inputs) {
            let data = realize(operand, &tracker, ty)?;
            tensors.push(Tensor { shape: ty.shape.clone(), data });
        }
        let outputs: Vec<Tensor<f32>> = self.op.eval(&tensors.iter().collect::<Vec<_>>())?;
        let shapes = outputs.iter().map(|tensor| &tensor.shape);
        if outputs.len() != self.outputs.len() || !shapes.eq(self.outputs.iter().map(|ty| &ty.shape)) {
            return Err("the reference gave other shapes than the type rule".to_owned());
        }
        Ok(outputs.into_iter().map(|tensor| LuminalTensor::new(tensor.data)).collect())
    }
}

impl Operator for IrOperator {
    fn process(&mut self, operands: Vec<(InputTensor<'_>, ShapeTracker)>) -> Vec<LuminalTensor> {
        if self.failure.is_set() {
            return poison(&self.outputs);
        }
        self.compute(operands).unwrap_or_else(|message| {
            let error = IrError::new(message).with_op(self.op.mnemonic()).with_scope(&self.scope);
            self.failure.raise(error.into());
            poison(&self.outputs)
        })
    }
}

impl fmt::Debug for IrOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.op.mnemonic(), self.op.attrs())
    }
}

/// Two operators are the same only if they are one: luminal's common-subexpression pass does not look at which output
/// of a node an edge reads, so it must never find two of ours equal.
impl PartialEq for IrOperator {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}
