//! The context in which an op's gradient rule runs.

use crate::{Builder, Func, IrError, Value};

/// Operands, results and incoming gradients of one instruction; collects the outgoing gradients.
#[derive(Debug)]
pub struct GradCx<'a> {
    builder: Builder<'a>,
    inputs: Vec<Value>,
    outputs: Vec<Value>,
    out_grads: Vec<Option<Value>>,
    wanted: Vec<bool>,
    in_grads: Vec<Option<Value>>,
    expand_first: bool,
}

impl<'a> GradCx<'a> {
    /// A context for an instruction; `wanted` says which operands need a gradient.
    pub fn new(
        builder: Builder<'a>,
        inputs: Vec<Value>,
        outputs: Vec<Value>,
        out_grads: Vec<Option<Value>>,
        wanted: Vec<bool>,
    ) -> Self {
        let in_grads = vec![None; inputs.len()];
        Self { builder, inputs, outputs, out_grads, wanted, in_grads, expand_first: false }
    }

    /// Operand `i`.
    pub fn input(&self, i: usize) -> Value {
        self.inputs[i]
    }

    /// All operands.
    pub fn inputs(&self) -> &[Value] {
        &self.inputs
    }

    /// Number of operands.
    pub fn input_count(&self) -> usize {
        self.inputs.len()
    }

    /// Output `i` of the instruction.
    pub fn output(&self, i: usize) -> Value {
        self.outputs[i]
    }

    /// Gradient of the loss with respect to output `i`, if anything depends on that output.
    pub fn out_grad(&self, i: usize) -> Option<Value> {
        self.out_grads[i]
    }

    /// Gradient of output `i`, or zeros of its shape.
    ///
    /// # Errors
    /// Never in practice; the constant's type rule.
    pub fn out_grad_or_zeros(&mut self, i: usize) -> Result<Value, IrError> {
        match self.out_grads[i] {
            Some(grad) => Ok(grad),
            None => self.builder.zeros_like(self.outputs[i]),
        }
    }

    /// Whether operand `i` needs a gradient; rules need not compute others.
    pub fn wants(&self, i: usize) -> bool {
        self.wanted[i]
    }

    /// The function being extended.
    pub fn func(&self) -> &Func {
        self.builder.func()
    }

    /// Appends to the gradient code.
    pub fn builder(&mut self) -> &mut Builder<'a> {
        &mut self.builder
    }

    /// Adds `grad` to the gradient of operand `i`.
    ///
    /// # Errors
    /// The gradient does not have the operand's shape.
    pub fn add(&mut self, i: usize, grad: Value) -> Result<(), IrError> {
        if !self.wanted[i] {
            return Ok(());
        }
        let (have, want) = (self.func().shape(grad), self.func().shape(self.inputs[i]));
        if have != want {
            return Err(IrError::new(format!(
                "gradient of operand {i} has shape {have:?}, the operand {want:?}"
            )));
        }
        self.in_grads[i] = self.sum(self.in_grads[i], Some(grad))?;
        Ok(())
    }

    /// Adds what `emit` builds to the gradient of operand `i`; builds nothing if it is not wanted.
    ///
    /// # Errors
    /// Those of `emit`, or a wrong shape.
    pub fn add_with(
        &mut self,
        i: usize,
        emit: impl FnOnce(&mut Builder<'a>) -> Result<Value, IrError>,
    ) -> Result<(), IrError> {
        if !self.wanted[i] {
            return Ok(());
        }
        let grad = emit(&mut self.builder)?;
        self.add(i, grad)
    }

    /// Sum of two gradients, either of which may be absent.
    ///
    /// # Errors
    /// They have different shapes.
    pub fn sum(&mut self, a: Option<Value>, b: Option<Value>) -> Result<Option<Value>, IrError> {
        match (a, b) {
            (Some(a), Some(b)) => self.builder.add(a, b).map(Some),
            (a, b) => Ok(a.or(b)),
        }
    }

    /// Says that the op is differentiated through its expansion.
    pub fn expand_first(&mut self) {
        self.expand_first = true;
    }

    /// Whether the rule asked to be differentiated through its expansion.
    pub fn asks_to_expand(&self) -> bool {
        self.expand_first
    }

    /// The gradients collected, one per operand.
    pub fn finish(self) -> Vec<Option<Value>> {
        self.in_grads
    }
}
