//! The checks, one function per group of the module's list.

use std::collections::BTreeMap;

use super::function::Function;
use super::{Finding, MAX_ELEMENTS, Site, elements_within_limit};
use crate::func::{InstData, Param, Role, ValueDef};
use crate::{Inst, IrError, TensorType, Value};

fn report(findings: &mut Vec<Finding>, site: Site, error: IrError) {
    findings.push(Finding { site, error });
}

/// An error about an instruction.
fn about(inst: &InstData, message: String) -> IrError {
    IrError::new(message).with_op(inst.op.mnemonic()).with_scope(&inst.scope)
}

fn numbered(insts: &[InstData]) -> impl Iterator<Item = (Inst, &InstData)> {
    insts.iter().enumerate().map(|(index, inst)| (Inst(index as u32), inst))
}

fn shown(def: ValueDef) -> String {
    match def {
        ValueDef::Param(index) => format!("parameter {index}"),
        ValueDef::Output(inst, index) => format!("output {index} of {inst}"),
    }
}

/// Names exist and are unique.
pub(super) fn names(function: &Function<'_>, findings: &mut Vec<Finding>) {
    if function.name.is_empty() {
        report(findings, Site::Func, IrError::new("the function has no name"));
    }
    let mut seen = BTreeMap::new();
    for (index, param) in function.params.iter().enumerate() {
        let message = match (param.name.as_str(), seen.insert(param.name.as_str(), index)) {
            ("", _) => "the parameter has no name".to_owned(),
            (name, Some(first)) => format!("parameters {first} and {index} are both named `{name}`"),
            _ => continue,
        };
        report(findings, Site::Param(index), IrError::new(message).with_value(param.value));
    }
    let mut seen = BTreeMap::new();
    for (index, result) in function.results.iter().enumerate().filter(|(_, result)| result.updates.is_none())
    {
        let message = match (result.name.as_str(), seen.insert(result.name.as_str(), index)) {
            ("", _) => "the result has no name".to_owned(),
            (name, Some(first)) => format!("results {first} and {index} are both named `{name}`"),
            _ => continue,
        };
        report(findings, Site::Result(index), IrError::new(message).with_value(result.value));
    }
}

/// Every value is defined once, and before it is used.
pub(super) fn values(function: &Function<'_>, findings: &mut Vec<Finding>) {
    let mut defined = vec![false; function.values.len()];
    let mut define = |value: Value, def: ValueDef, site: Site, findings: &mut Vec<Finding>| {
        let message = match function.values.get(value.index()) {
            None => "is no value of the function, but is defined here".to_owned(),
            Some(_) if std::mem::replace(&mut defined[value.index()], true) => {
                "is defined a second time".to_owned()
            }
            Some((_, recorded)) if *recorded != def => {
                format!("is defined here, but recorded as {}", shown(*recorded))
            }
            Some(_) => return,
        };
        report(findings, site, IrError::new(message).with_value(value));
    };
    for (index, param) in function.params.iter().enumerate() {
        define(param.value, ValueDef::Param(index), Site::Param(index), findings);
    }
    // An operand may come from an instruction before this one only, so outputs count as seen after their instruction.
    let mut seen = vec![false; function.values.len()];
    let mark = |seen: &mut Vec<bool>, value: Value| {
        if let Some(slot) = seen.get_mut(value.index()) {
            *slot = true;
        }
    };
    for param in function.params {
        mark(&mut seen, param.value);
    }
    for (at, inst) in numbered(function.insts) {
        for &input in &inst.inputs {
            if !seen.get(input.index()).copied().unwrap_or(false) {
                let error = about(inst, "reads a value that is not defined before it".to_owned());
                report(findings, Site::Inst(at), error.with_value(input));
            }
        }
        for (index, &output) in inst.outputs.iter().enumerate() {
            define(output, ValueDef::Output(at, index), Site::Inst(at), findings);
            mark(&mut seen, output);
        }
    }
    for (index, result) in function.results.iter().enumerate() {
        if !seen.get(result.value.index()).copied().unwrap_or(false) {
            let error = IrError::new(format!("result `{}` is a value that nothing defines", result.name));
            report(findings, Site::Result(index), error.with_value(result.value));
        }
    }
    for (index, _) in seen.iter().enumerate().filter(|(_, seen)| !**seen) {
        let error =
            IrError::new("belongs to no parameter and to no instruction").with_value(Value(index as u32));
        report(findings, Site::Func, error);
    }
}

/// What is wrong with a quantized parameter.
fn quantized(param: &Param, ty: &TensorType) -> Vec<String> {
    if !ty.dtype.is_quantized() {
        return Vec::new();
    }
    let mut messages = Vec::new();
    if !ty.has_whole_blocks() {
        let (block, _) = ty.dtype.block();
        messages.push(format!("the last axis of {ty} is no whole number of blocks of {block} elements"));
    }
    if param.role != Role::Weight {
        messages.push(format!("`{}` is {ty}, a type of weights, but no weight", param.name));
    }
    messages
}

/// Every instruction satisfies its type rule, and no tensor is too large.
pub(super) fn types(function: &Function<'_>, findings: &mut Vec<Finding>) {
    let too_large = |ty: &TensorType| {
        (!elements_within_limit(&ty.shape)).then(|| format!("{ty} has more than {MAX_ELEMENTS} elements"))
    };
    for (index, param) in function.params.iter().enumerate() {
        let Some(ty) = function.ty(param.value) else { continue };
        for message in too_large(ty).into_iter().chain(quantized(param, ty)) {
            report(findings, Site::Param(index), IrError::new(message).with_value(param.value));
        }
    }
    for (at, inst) in numbered(function.insts) {
        let site = Site::Inst(at);
        let outputs: Vec<Option<&TensorType>> = inst.outputs.iter().map(|&v| function.ty(v)).collect();
        for (&value, ty) in inst.outputs.iter().zip(&outputs) {
            if let Some(message) = ty.and_then(too_large) {
                report(findings, site, about(inst, message).with_value(value));
            }
        }
        let inputs: Option<Vec<&TensorType>> = inst.inputs.iter().map(|&v| function.ty(v)).collect();
        // Operands that do not exist are reported as such; operands that are too large would overflow type rules.
        let Some(inputs) = inputs.filter(|tys| tys.iter().all(|ty| elements_within_limit(&ty.shape))) else {
            continue;
        };
        let inferred = match inst.op.infer(&inputs) {
            Ok(inferred) => inferred,
            Err(message) => {
                let operands = inputs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                report(findings, site, about(inst, format!("{message} (operands: {operands})")));
                continue;
            }
        };
        if inferred.len() != outputs.len() {
            let message = format!("has {} outputs, {} are recorded", inferred.len(), outputs.len());
            report(findings, site, about(inst, message));
            continue;
        }
        for ((&value, recorded), inferred) in inst.outputs.iter().zip(outputs).zip(&inferred) {
            let Some(recorded) = recorded else { continue };
            let message = if recorded.shape != inferred.shape {
                format!("gives {inferred}, recorded is {recorded}")
            } else if let Err(why) = inst.op.check_asked(&inputs, inferred.dtype, recorded.dtype) {
                format!("gives {inferred}, recorded is {recorded}: {why}")
            } else {
                continue;
            };
            report(findings, site, about(inst, message).with_value(value));
        }
    }
}

/// No result is quantized: such weights are neither computed nor trained.
pub(super) fn quantized_results(function: &Function<'_>, findings: &mut Vec<Finding>) {
    for (index, result) in function.results.iter().enumerate() {
        if let Some(ty) = function.ty(result.value).filter(|ty| ty.dtype.is_quantized()) {
            let message = format!("`{}` is {ty}, a type of weights, which are no results", result.name);
            report(findings, Site::Result(index), IrError::new(message).with_value(result.value));
        }
    }
}

/// Updates go once to memory that lives between calls, and fit it.
pub(super) fn updates(function: &Function<'_>, findings: &mut Vec<Finding>) {
    let mut updated = vec![false; function.params.len()];
    for (index, result) in function.results.iter().enumerate() {
        let Some(target) = result.updates else { continue };
        let site = Site::Result(index);
        let mut complain = |message: String| {
            report(findings, site, IrError::new(message).with_value(result.value));
        };
        let Some(param) = function.params.get(target) else {
            complain(format!("updates parameter {target}, there are {}", function.params.len()));
            continue;
        };
        let name = &param.name;
        if param.role == Role::Input {
            complain(format!(
                "updates `{name}`, which is an input; only weights and state live between calls"
            ));
        }
        if std::mem::replace(&mut updated[target], true) {
            complain(format!("updates `{name}` a second time"));
        }
        match (function.ty(param.value), function.ty(result.value)) {
            (Some(old), Some(new)) if old != new => {
                complain(format!("updates `{name}`, which is {old}, with {new}"));
            }
            _ => {}
        }
    }
}

/// Scope paths are made of named parts.
pub(super) fn scopes(function: &Function<'_>, findings: &mut Vec<Finding>) {
    let belongs = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '>');
    let well_formed = |path: &str| path.split('.').all(|part| !part.is_empty() && part.chars().all(belongs));
    // One finding where a bad scope begins, not one for every instruction in it.
    let mut last = "";
    for (at, inst) in numbered(function.insts) {
        let path = inst.scope.as_str();
        if path != last && !path.is_empty() && !well_formed(path) {
            let message =
                format!("the scope {path:?} is no path of letters, digits, `_`, `-` and `>` between dots");
            report(findings, Site::Inst(at), IrError::new(message).with_op(inst.op.mnemonic()));
        }
        last = path;
    }
}
