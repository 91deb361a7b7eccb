//! Parameters of a graph.

use std::fmt;

use crossloom_ir::{Role, TensorType};
use luminal::op::{InputTensor, Operator};
use luminal::prelude::{ShapeTracker, Tensor};

use super::{FailureCell, poison};
use crate::GraphError;

/// A named parameter. Inputs hold their data here; weights and state are tensors that luminal keeps between runs.
pub struct Load {
    name: String,
    role: Role,
    ty: TensorType,
    value: Option<Vec<f32>>,
    failure: FailureCell,
}

impl Load {
    /// A parameter without a value.
    pub fn new(name: &str, role: Role, ty: TensorType, failure: FailureCell) -> Self {
        Self { name: name.to_owned(), role, ty, value: None, failure }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is to the graph.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Its type.
    pub fn ty(&self) -> &TensorType {
        &self.ty
    }

    /// The data of the next runs.
    pub fn value(&self) -> Option<&[f32]> {
        self.value.as_deref()
    }

    /// Sets the data of the next runs, in row-major order; ids are given as floats.
    pub fn set_value(&mut self, value: Vec<f32>) {
        self.value = Some(value);
    }
}

impl Operator for Load {
    fn process(&mut self, _: Vec<(InputTensor<'_>, ShapeTracker)>) -> Vec<Tensor> {
        let ty = std::slice::from_ref(&self.ty);
        match &self.value {
            Some(value) => vec![Tensor::new(value.clone())],
            None => {
                self.failure.raise(GraphError::Unset { names: vec![self.name.clone()] });
                poison(ty)
            }
        }
    }
}

impl fmt::Debug for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.role.name(), self.name)
    }
}

/// Two loads are the same only if they are one.
impl PartialEq for Load {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}
