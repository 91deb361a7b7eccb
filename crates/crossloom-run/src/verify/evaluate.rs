//! A function with all its values in double precision, and what becomes of them when some are others.

use std::collections::BTreeMap;

use crossloom_ir::interp::run_all;
use crossloom_ir::{Func, IrError, IrErrors, Tensor, Value};

use crate::ExperimentError;

/// Tensors by name.
pub(crate) type Named = BTreeMap<String, Tensor<f64>>;

/// A function and every value of one call, by the reference interpreter.
pub(crate) struct Evaluated<'f> {
    pub(crate) func: &'f Func,
    values: Vec<Tensor<f64>>,
}

/// What is put in the place of values: of a value wherever it is read, or of one operand of one instruction.
#[derive(Clone, Default)]
pub(crate) struct Change {
    pub(crate) values: BTreeMap<Value, Tensor<f64>>,
    pub(crate) operands: BTreeMap<(usize, usize), Tensor<f64>>,
}

impl Change {
    /// Other values of parameters; names that the function does not have are left out.
    pub(crate) fn of_params<'n>(
        func: &Func,
        params: impl IntoIterator<Item = (&'n String, &'n Tensor<f64>)>,
    ) -> Self {
        let values = params.into_iter();
        let known = values.filter_map(|(name, tensor)| Some((func.param(name)?.value, tensor.clone())));
        Self { values: known.collect(), operands: BTreeMap::new() }
    }
}

/// The values that differ after a change, to the last bit.
#[derive(Default)]
pub(crate) struct Changed {
    values: BTreeMap<usize, Tensor<f64>>,
    operands: BTreeMap<(usize, usize), Tensor<f64>>,
}

impl Changed {
    /// The value after the change, where it differs.
    pub(crate) fn get(&self, value: Value) -> Option<&Tensor<f64>> {
        self.values.get(&value.index())
    }

    /// What an instruction reads as one of its operands after the change, where it differs.
    pub(crate) fn operand(&self, at: (usize, usize), value: Value) -> Option<&Tensor<f64>> {
        self.operands.get(&at).or_else(|| self.get(value))
    }
}

impl<'f> Evaluated<'f> {
    /// Runs a function on named arguments.
    ///
    /// # Errors
    /// A parameter without an argument; an op that refuses its operands.
    pub(crate) fn new(func: &'f Func, given: &[&Named]) -> Result<Self, ExperimentError> {
        let mut missing = Vec::new();
        let mut args = Vec::with_capacity(func.params().len());
        for param in func.params() {
            match given.iter().find_map(|named| named.get(&param.name)) {
                Some(tensor) => args.push(tensor.clone()),
                None => missing.push(IrError::new(format!("@{} is given no `{}`", func.name, param.name))),
            }
        }
        if !missing.is_empty() {
            return Err(IrErrors(missing).into());
        }
        let empty = || Tensor::splat(Vec::new(), f64::NAN);
        let values = run_all(func, &args)?.into_iter().map(|value| value.unwrap_or_else(empty)).collect();
        Ok(Self { func, values })
    }

    /// A value of the call.
    pub(crate) fn value(&self, value: Value) -> &Tensor<f64> {
        &self.values[value.index()]
    }

    /// A value after a change.
    pub(crate) fn after<'a>(&'a self, changed: &'a Changed, value: Value) -> &'a Tensor<f64> {
        changed.get(value).unwrap_or(self.value(value))
    }

    /// A result that updates nothing.
    pub(crate) fn result(&self, name: &str) -> Option<&Tensor<f64>> {
        self.func.result(name).map(|value| self.value(value))
    }

    /// All results by name, those that update a parameter by the parameter's.
    pub(crate) fn results(&self) -> Named {
        self.func.results().iter().map(|r| (r.name.clone(), self.value(r.value).clone())).collect()
    }

    /// What differs when some values are others. Only what reads something that differs is computed again; `only` says which
    /// instructions may be, by index.
    ///
    /// # Errors
    /// An op that refuses its new operands.
    pub(crate) fn changed(&self, change: &Change, only: Option<&[bool]>) -> Result<Changed, ExperimentError> {
        let mut new: BTreeMap<usize, Tensor<f64>> = BTreeMap::new();
        for (value, tensor) in &change.values {
            if tensor != self.value(*value) {
                new.insert(value.index(), tensor.clone());
            }
        }
        for (index, inst) in self.func.insts().iter().enumerate() {
            if only.is_some_and(|only| !only[index]) {
                continue;
            }
            let operands = inst.inputs.iter().enumerate().map(|(at, value)| {
                let own = change.operands.get(&(index, at));
                own.or_else(|| new.get(&value.index()))
            });
            let given: Vec<Option<&Tensor<f64>>> = operands.collect();
            if given.iter().all(Option::is_none) {
                continue;
            }
            let all: Vec<&Tensor<f64>> = given
                .iter()
                .zip(&inst.inputs)
                .map(|(given, value)| given.unwrap_or(self.value(*value)))
                .collect();
            let outputs = inst.op.eval(&all).map_err(|message| {
                let error = IrError::new(message).with_op(inst.op.mnemonic()).with_scope(&inst.scope);
                ExperimentError::from(IrErrors(vec![error]))
            })?;
            for (value, tensor) in inst.outputs.iter().zip(outputs) {
                if !change.values.contains_key(value) && tensor != *self.value(*value) {
                    new.insert(value.index(), tensor);
                }
            }
        }
        Ok(Changed { values: new, operands: change.operands.clone() })
    }
}

/// By value of a function, whether another one of them is it or depends on it.
pub(crate) fn leading_to(func: &Func, value: Value) -> Vec<bool> {
    let (mut seen, mut open) = (vec![false; func.value_count()], vec![value]);
    while let Some(value) = open.pop() {
        if !std::mem::replace(&mut seen[value.index()], true)
            && let Some((_, inst)) = func.def_inst(value)
        {
            open.extend(&inst.inputs);
        }
    }
    seen
}

/// The root of the sum of squares.
pub(crate) fn norm(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// `a - b`, element by element.
pub(crate) fn difference(a: &Tensor<f64>, b: &Tensor<f64>) -> Tensor<f64> {
    Tensor { shape: a.shape.clone(), data: a.data.iter().zip(&b.data).map(|(a, b)| a - b).collect() }
}

/// How far two tensors are apart, as a share of the larger one's norm; 0 where both are zero, infinite where one is not finite or
/// their shapes differ.
pub(crate) fn apart(a: &Tensor<f64>, b: &Tensor<f64>) -> f64 {
    let size = norm(a.data.iter().copied()).max(norm(b.data.iter().copied()));
    let off = norm(difference(a, b).data);
    match (a.shape == b.shape, size.is_finite() && off.is_finite(), off == 0.0) {
        (true, true, true) => 0.0,
        (true, true, false) => off / size,
        _ => f64::INFINITY,
    }
}

/// Some rows of a tensor `[.., D]`, one after the other.
pub(crate) fn rows(tensor: &Tensor<f64>, rows: impl IntoIterator<Item = usize>) -> Tensor<f64> {
    let width = tensor.last();
    let mut data = Vec::new();
    for row in rows {
        data.extend_from_slice(&tensor.data[row * width..(row + 1) * width]);
    }
    Tensor { shape: vec![data.len() / width.max(1), width], data }
}
