//! The reference interpreter: every op's own reference semantics, one instruction after the other.
//!
//! Slow and plain on purpose. In `f64` it is the oracle of gradients and of every backend; in `f32` each op computes
//! in double precision and rounds its results once. A value of a 16-bit type is rounded to it in both, by one function, and
//! nowhere else: what an instruction reads are numbers of their types. An `f32` value of the `f64` oracle is not rounded.
//!
//! An argument is rounded to its parameter's type too, as it is where it is stored. A quantized operand is the tensor of
//! the numbers that its blocks stand for.

mod tensor;

pub use tensor::{Real, Tensor, coordinates, strides};

use crate::{DType, Func, IrError, IrErrors, Value};

/// Values of all results of a call, in order of the function's results.
pub type Outputs<T> = Vec<Tensor<T>>;

/// Runs a function on arguments given in the order of its parameters.
///
/// # Errors
/// Wrong arguments (all of them), or the first op that cannot compute.
pub fn run<T: Real>(func: &Func, args: &[Tensor<T>]) -> Result<Outputs<T>, IrErrors> {
    let values = run_all(func, args)?;
    Ok(func.results().iter().filter_map(|r| values[r.value.index()].clone()).collect())
}

/// Runs a function and keeps every value, indexed by [`Value`].
///
/// # Errors
/// As [`run`].
pub fn run_all<T: Real>(func: &Func, args: &[Tensor<T>]) -> Result<Vec<Option<Tensor<T>>>, IrErrors> {
    check_arguments(func, args)?;
    let mut values: Vec<Option<Tensor<T>>> = vec![None; func.value_count()];
    for (param, arg) in func.params().iter().zip(args) {
        values[param.value.index()] = Some(rounded(arg.clone(), func.dtype(param.value)));
    }
    for inst in func.insts() {
        let located = |error: IrError| error.with_op(inst.op.mnemonic()).with_scope(&inst.scope);
        let inputs =
            inst.inputs.iter().map(|&v| known(&values, v)).collect::<Result<Vec<_>, _>>().map_err(located)?;
        let outputs = inst.op.eval(&inputs).map_err(|message| located(IrError::new(message)))?;
        for (&value, tensor) in inst.outputs.iter().zip(outputs) {
            if tensor.shape != func.shape(value) {
                let message =
                    format!("reference gave shape {:?}, the type is {}", tensor.shape, func.ty(value));
                return Err(located(IrError::new(message).with_value(value)).into());
            }
            values[value.index()] = Some(rounded(tensor, func.dtype(value)));
        }
    }
    Ok(values)
}

/// A tensor as it is held in that element type.
fn rounded<T: Real>(mut tensor: Tensor<T>, dtype: DType) -> Tensor<T> {
    if matches!(dtype, DType::Bf16 | DType::F16) {
        for x in &mut tensor.data {
            *x = T::from_f64(dtype.round(x.to_f64()));
        }
    }
    tensor
}

fn known<T>(values: &[Option<Tensor<T>>], value: Value) -> Result<&Tensor<T>, IrError> {
    values[value.index()].as_ref().ok_or_else(|| IrError::new("read before it is defined").with_value(value))
}

fn check_arguments<T: Real>(func: &Func, args: &[Tensor<T>]) -> Result<(), IrErrors> {
    let mut errors = Vec::new();
    if args.len() != func.params().len() {
        let message = format!("{} parameters, {} arguments", func.params().len(), args.len());
        errors.push(IrError::new(message));
    }
    for (param, arg) in func.params().iter().zip(args) {
        if arg.shape != func.shape(param.value) {
            let message =
                format!("`{}` is {}, the argument {:?}", param.name, func.ty(param.value), arg.shape);
            errors.push(IrError::new(message).with_value(param.value));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(IrErrors(errors)) }
}
