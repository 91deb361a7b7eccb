//! Reverse-mode differentiation: from a scalar result to code that computes its gradients.
//!
//! The gradient code is appended to the same function, so that forward and backward are one flat graph. Every op's own
//! rule emits its part. An op that is defined by its expansion has that emitted again and differentiated; passes that
//! expand such ops beforehand (AMP batching, AGF fusion) save the repetition.

use std::ops::Range;

use crossloom_ir::func::{InstData, ValueDef};
use crossloom_ir::grad::GradCx;
use crossloom_ir::op::{Binary, BinaryKind};
use crossloom_ir::{Func, Inst, IrError, IrErrors, Value};

/// The function with results `grad.NAME` added: the gradient of the scalar result `result` with respect to each of the
/// parameters `wrt`. A parameter the result does not depend on gets zeros.
///
/// # Errors
/// The result does not exist or is no scalar; an op without a gradient lies on the way.
pub fn gradient(func: &Func, result: &str, wrt: &[Value]) -> Result<Func, IrErrors> {
    let mut func = func.clone();
    let loss = func
        .result(result)
        .ok_or_else(|| IrError::new(format!("the function has no result `{result}` to differentiate")))?;
    let grads = backward(&mut func, loss, wrt)?;
    for (&param, grad) in wrt.iter().zip(grads) {
        let grad = match grad {
            Some(grad) => grad,
            None => func.builder().zeros_like(param)?,
        };
        let name = match func.def(param) {
            ValueDef::Param(index) => func.params()[index].name.clone(),
            ValueDef::Output(..) => param.to_string(),
        };
        func.add_result(format!("grad.{name}"), grad);
    }
    Ok(func)
}

/// Appends the gradient code of the scalar `loss`; returns the gradient of every value in `wrt`, or `None` where the
/// loss does not depend on it. Gradient instructions get the scope of the instruction they belong to.
///
/// # Errors
/// The loss is no scalar, or an op on the way has no gradient.
pub fn backward(func: &mut Func, loss: Value, wrt: &[Value]) -> Result<Vec<Option<Value>>, IrErrors> {
    if !func.shape(loss).is_empty() {
        let message = format!("only a scalar can be differentiated, this is {}", func.ty(loss));
        return Err(IrError::new(message).with_value(loss).into());
    }
    let quantized = wrt.iter().find(|&&value| func.dtype(value).is_quantized());
    if let Some(&value) = quantized {
        let message = format!("is {}; nothing is differentiated by quantized weights", func.ty(value));
        return Err(IrError::new(message).with_value(value).into());
    }
    let mut tape = Tape { needed: vec![false; func.value_count()], grads: vec![None; func.value_count()] };
    for value in wrt {
        tape.needed[value.index()] = true;
    }
    let forward = 0..func.insts().len();
    tape.mark_needed(func, forward.clone());
    let seed = func.builder().constant(1.0, &[])?;
    tape.grads[loss.index()] = Some(seed);
    tape.differentiate(func, forward)?;
    Ok(wrt.iter().map(|&v| tape.grad(v)).collect())
}

/// Which values lead from the wanted parameters to the loss, and the gradients found so far.
struct Tape {
    /// By value; values made since then are not needed.
    needed: Vec<bool>,
    /// By value; values made since then have none.
    grads: Vec<Option<Value>>,
}

impl Tape {
    fn grad(&self, value: Value) -> Option<Value> {
        self.grads.get(value.index()).copied().flatten()
    }

    fn is_needed(&self, value: Value) -> bool {
        self.needed.get(value.index()).copied().unwrap_or(false)
    }

    /// Marks every output of the instructions in `range` that depends on a needed value.
    fn mark_needed(&mut self, func: &Func, range: Range<usize>) {
        self.needed.resize(func.value_count(), false);
        self.grads.resize(func.value_count(), None);
        for inst in &func.insts()[range] {
            if inst.inputs.iter().any(|&v| self.is_needed(v)) {
                for output in &inst.outputs {
                    self.needed[output.index()] = true;
                }
            }
        }
    }

    /// Runs the rules of the instructions in `range`, last to first.
    fn differentiate(&mut self, func: &mut Func, range: Range<usize>) -> Result<(), IrError> {
        for index in range.rev() {
            let inst = func.inst(Inst(index as u32));
            let wanted: Vec<bool> = inst.inputs.iter().map(|&v| self.is_needed(v)).collect();
            let out_grads: Vec<_> = inst.outputs.iter().map(|&v| self.grad(v)).collect();
            if wanted.contains(&true) && out_grads.iter().any(Option::is_some) {
                let inst = inst.clone();
                self.differentiate_inst(func, &inst, &out_grads, wanted)
                    .map_err(|e| e.with_op(inst.op.mnemonic()).with_scope(&inst.scope))?;
            }
        }
        Ok(())
    }

    fn differentiate_inst(
        &mut self,
        func: &mut Func,
        inst: &InstData,
        out_grads: &[Option<Value>],
        wanted: Vec<bool>,
    ) -> Result<(), IrError> {
        let mut builder = func.builder();
        builder.set_scope(inst.scope.clone());
        let mut cx =
            GradCx::new(builder, inst.inputs.clone(), inst.outputs.clone(), out_grads.to_vec(), wanted);
        inst.op.gradient(&mut cx)?;
        if cx.asks_to_expand() {
            return self.differentiate_expansion(func, inst, out_grads);
        }
        for (&input, grad) in inst.inputs.iter().zip(cx.finish()) {
            if let Some(grad) = grad {
                self.accumulate(func, inst, input, grad)?;
            }
        }
        Ok(())
    }

    fn differentiate_expansion(
        &mut self,
        func: &mut Func,
        inst: &InstData,
        out_grads: &[Option<Value>],
    ) -> Result<(), IrError> {
        let start = func.insts().len();
        let mut builder = func.builder();
        builder.set_scope(inst.scope.clone());
        let outputs = inst.op.expand(&mut builder, &inst.inputs)?;
        let outputs = outputs.ok_or_else(|| IrError::new("has neither a gradient rule nor an expansion"))?;
        let emitted = start..func.insts().len();
        self.mark_needed(func, emitted.clone());
        for (&output, grad) in outputs.iter().zip(out_grads) {
            if let Some(grad) = *grad {
                self.accumulate(func, inst, output, grad)?;
            }
        }
        self.differentiate(func, emitted)
    }

    fn accumulate(
        &mut self,
        func: &mut Func,
        inst: &InstData,
        of: Value,
        grad: Value,
    ) -> Result<(), IrError> {
        let total = match self.grad(of) {
            Some(so_far) => func.push(Binary(BinaryKind::Add), &[so_far, grad], &inst.scope)?[0],
            None => grad,
        };
        self.grads[of.index()] = Some(total);
        Ok(())
    }
}
