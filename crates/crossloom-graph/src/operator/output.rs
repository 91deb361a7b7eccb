//! Results of a graph.

use std::fmt;

use crossloom_ir::{IrError, TensorType};
use luminal::op::{InputTensor, Operator};
use luminal::prelude::{ShapeTracker, Tensor};

use super::{FailureCell, poison, realize};

/// A named result: passes its operands on, so that they can be retrieved from this node. A result that updates a
/// parameter becomes the parameter's value after the run.
pub struct Output {
    name: String,
    updates: Option<String>,
    types: Vec<TensorType>,
    failure: FailureCell,
}

impl Output {
    /// A result of tensors of those types.
    pub fn new(name: &str, updates: Option<&str>, types: Vec<TensorType>, failure: FailureCell) -> Self {
        Self { name: name.to_owned(), updates: updates.map(ToOwned::to_owned), types, failure }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The parameter whose value it becomes.
    pub fn updates(&self) -> Option<&str> {
        self.updates.as_deref()
    }

    /// Types of the tensors that pass.
    pub fn types(&self) -> &[TensorType] {
        &self.types
    }
}

impl Operator for Output {
    fn process(&mut self, operands: Vec<(InputTensor<'_>, ShapeTracker)>) -> Vec<Tensor> {
        if self.failure.is_set() {
            return poison(&self.types);
        }
        let passed: Result<Vec<Tensor>, String> = operands
            .into_iter()
            .zip(&self.types)
            .map(|((operand, tracker), ty)| realize(operand, &tracker, ty).map(Tensor::new))
            .collect();
        let complete = passed.and_then(|tensors| {
            let all = tensors.len() == self.types.len();
            if all { Ok(tensors) } else { Err("has fewer operands than outputs".to_owned()) }
        });
        complete.unwrap_or_else(|message| {
            self.failure.raise(IrError::new(message).with_op(format!("result {}", self.name)).into());
            poison(&self.types)
        })
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.updates {
            Some(param) => write!(f, "update {param}"),
            None => write!(f, "result {}", self.name),
        }
    }
}

/// Two results are the same only if they are one.
impl PartialEq for Output {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}
