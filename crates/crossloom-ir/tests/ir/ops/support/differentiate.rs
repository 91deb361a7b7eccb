//! A small reverse-mode differentiator: the gradient of one instruction, through its rule or, where the rule asks for
//! it, through its expansion.

use std::collections::BTreeMap;

use crossloom_ir::expand::expand_inst;
use crossloom_ir::grad::GradCx;
use crossloom_ir::{DType, Func, Op, Role, Scope, Value};

use super::Arg;

/// A function of the operands and of one weight per chosen output; its results are the gradients of the weighted sum of
/// these outputs with respect to the wanted operands, zeros where nothing flows.
pub(crate) fn gradient_function(op: &Op, args: &[Arg], weights: &[(usize, Arg)], wanted: &[usize]) -> Func {
    let mut func = Func::new("gradient");
    let params: Vec<Value> = args
        .iter()
        .enumerate()
        .map(|(i, arg)| func.add_param(format!("p{i}"), Role::Input, arg.ty.clone()))
        .collect();
    let weights: Vec<(usize, Value)> = weights
        .iter()
        .map(|(i, weight)| (*i, func.add_param(format!("w{i}"), Role::Input, weight.ty.clone())))
        .collect();
    let outputs = func.push(op.clone(), &params, &Scope::new("test")).unwrap();
    // The gradient of a weighted sum with respect to what is summed is the weights.
    let mut grads: BTreeMap<Value, Value> =
        weights.into_iter().map(|(i, weight)| (outputs[i], weight)).collect();
    let end = func.insts().len();
    backward(&mut func, 0, end, &mut grads);
    for &i in wanted {
        let grad = match grads.get(&params[i]) {
            Some(&grad) => grad,
            None => func.builder().zeros_like(params[i]).unwrap(),
        };
        func.add_result(format!("d{i}"), grad);
    }
    func
}

/// Runs the gradient rules of the instructions `start..end` in reverse.
fn backward(func: &mut Func, start: usize, end: usize, grads: &mut BTreeMap<Value, Value>) {
    for at in (start..end).rev() {
        let inst = func.insts()[at].clone();
        let out_grads: Vec<Option<Value>> = inst.outputs.iter().map(|v| grads.get(v).copied()).collect();
        if out_grads.iter().all(Option::is_none) {
            continue;
        }
        let wanted = inst.inputs.iter().map(|&v| func.ty(v).dtype == DType::F32).collect();
        let mut cx =
            GradCx::new(func.builder(), inst.inputs.clone(), inst.outputs.clone(), out_grads.clone(), wanted);
        inst.op.gradient(&mut cx).unwrap();
        if !cx.asks_to_expand() {
            for (&input, grad) in inst.inputs.iter().zip(cx.finish()) {
                accumulate(func, grads, input, grad);
            }
            continue;
        }
        let first = func.insts().len();
        let asked = func.dtypes(&inst.outputs);
        let expansion = expand_inst(&mut func.builder(), &inst, &inst.inputs, &asked).unwrap();
        let outputs = expansion.expect("an expansion");
        let last = func.insts().len();
        for (&output, grad) in outputs.iter().zip(out_grads) {
            accumulate(func, grads, output, grad);
        }
        backward(func, first, last, grads);
    }
}

fn accumulate(func: &mut Func, grads: &mut BTreeMap<Value, Value>, value: Value, grad: Option<Value>) {
    let Some(grad) = grad else { return };
    let total = match grads.get(&value) {
        Some(&before) => func.builder().add(before, grad).unwrap(),
        None => grad,
    };
    grads.insert(value, total);
}
