//! The node that runs a compiled region.

use std::fmt;

use crossloom_ir::{IrError, Role, TensorType};
use luminal::op::{InputTensor, Operator};
use luminal::prelude::{ShapeTracker, Tensor};

use super::{CompiledRegion, Data};
use crate::GraphError;
use crate::operator::{poison, realize};

/// Operands are the function's inputs, outputs its results that update no parameter.
#[derive(PartialEq)]
pub(crate) struct RegionOperator {
    region: CompiledRegion,
    inputs: Vec<TensorType>,
    outputs: Vec<TensorType>,
}

impl RegionOperator {
    pub(crate) fn new(region: CompiledRegion) -> Self {
        let func = region.func();
        let inputs = func.params().iter().filter(|param| param.role == Role::Input).map(|param| param.value);
        let outputs =
            func.results().iter().filter(|result| result.updates.is_none()).map(|result| result.value);
        let inputs = inputs.map(|value| func.ty(value).clone()).collect();
        let outputs = outputs.map(|value| func.ty(value).clone()).collect();
        Self { region, inputs, outputs }
    }

    pub(crate) fn region(&self) -> &CompiledRegion {
        &self.region
    }

    pub(crate) fn outputs(&self) -> &[TensorType] {
        &self.outputs
    }

    fn compute(&self, operands: Vec<(InputTensor<'_>, ShapeTracker)>) -> Result<Vec<Tensor>, GraphError> {
        let located = |message: String| GraphError::from(IrError::new(message).with_op(format!("{self:?}")));
        if operands.len() != self.inputs.len() {
            return Err(located(format!(
                "takes {} operands, {} are connected",
                self.inputs.len(),
                operands.len()
            )));
        }
        let mut inputs = Vec::with_capacity(operands.len());
        for ((operand, tracker), ty) in operands.into_iter().zip(&self.inputs) {
            let values = realize(operand, &tracker, ty).map_err(located)?;
            inputs.push(Data::from_luminal(values, ty.dtype));
        }
        let outputs = self.region.run(&inputs)?;
        let given = outputs.iter().map(|data| (data.dtype(), data.len()));
        if !given.eq(self.outputs.iter().map(|ty| (ty.dtype, ty.elements()))) {
            return Err(located("gave results of other types than the function's".to_owned()));
        }
        Ok(outputs.into_iter().map(|data| Tensor::new(data.into_luminal())).collect())
    }
}

impl Operator for RegionOperator {
    fn process(&mut self, operands: Vec<(InputTensor<'_>, ShapeTracker)>) -> Vec<Tensor> {
        if self.region.failure().is_set() {
            return poison(&self.outputs);
        }
        self.compute(operands).unwrap_or_else(|error| {
            self.region.failure().raise(error);
            poison(&self.outputs)
        })
    }
}

impl fmt::Debug for RegionOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.region, f)
    }
}
