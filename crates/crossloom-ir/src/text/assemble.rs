//! From statements to a function: labels become values, types are checked.

use std::collections::HashMap;

use super::MAX_ERRORS;
use super::nearest::nearest;
use super::statement::{Instruction, Statement, statement};
use crate::func::{Role, Scope};
use crate::verify::{MAX_ELEMENTS, elements_within_limit};
use crate::{DType, Func, IrError, IrErrors, Op, TensorType, Value};

/// The line of every statement of a parsed text, counted from 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// The line that opens the function.
    pub func: usize,
    /// The lines of the parameters, in order.
    pub params: Vec<usize>,
    /// The lines of the instructions, in order.
    pub insts: Vec<usize>,
    /// The lines of the results, in order.
    pub results: Vec<usize>,
}

/// Reads a function from its text form.
///
/// # Errors
/// Everything that is wrong with the text, each with its line: syntax, unknown ops and attributes, values that are not
/// defined before their use, types that are not those of the op's type rule.
pub fn parse(text: &str) -> Result<Func, IrErrors> {
    parse_with_lines(text).map(|(func, _)| func)
}

/// Reads a function from its text form and says on which line each of its parts stands.
///
/// # Errors
/// As [`parse`].
pub fn parse_with_lines(text: &str) -> Result<(Func, Lines), IrErrors> {
    let mut assembler = Assembler::default();
    for (index, line) in text.lines().enumerate() {
        assembler.line = index + 1;
        match statement(line) {
            Ok(None) => {}
            Ok(Some(statement)) => assembler.add(statement),
            Err(message) => {
                assembler.define_outputs(line);
                assembler.report(IrError::new(message));
            }
        }
    }
    assembler.finish()
}

impl std::str::FromStr for Func {
    type Err = IrErrors;

    fn from_str(text: &str) -> Result<Self, IrErrors> {
        parse(text)
    }
}

/// What is known of a label. After an error no more code is built, but types are still checked.
#[derive(Clone)]
struct Known {
    line: usize,
    /// Not known where the defining statement could not be read.
    ty: Option<TensorType>,
    value: Option<Value>,
}

/// Where in the function the text is.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Section {
    #[default]
    Before,
    Params,
    Insts,
    Results,
    After,
}

#[derive(Default)]
struct Assembler<'a> {
    func: Option<Func>,
    lines: Lines,
    known: HashMap<&'a str, Known>,
    scope: Scope,
    section: Section,
    line: usize,
    errors: Vec<IrError>,
    uncounted: usize,
}

impl<'a> Assembler<'a> {
    fn report(&mut self, error: IrError) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(error.with_line(self.line.max(1)));
        } else {
            self.uncounted += 1;
        }
    }

    fn add(&mut self, statement: Statement<'a>) {
        match statement {
            Statement::Open { name } => self.open(name),
            Statement::Close => {
                if self.enter(Section::After, "`}`") {
                    self.section = Section::After;
                }
            }
            Statement::Param { role, label, name, ty } => {
                self.enter(Section::Params, "a parameter");
                self.param(role, label, name, ty);
            }
            Statement::Scope(path) => {
                self.enter(Section::Insts, "a scope");
                self.scope = Scope::new(path);
            }
            Statement::Inst(inst) => {
                self.enter(Section::Insts, "an instruction");
                self.inst(inst);
            }
            Statement::Return { name, value } => {
                self.enter(Section::Results, "a result");
                self.result(name, value);
            }
            Statement::Update { param, value } => {
                self.enter(Section::Results, "an update");
                self.update(param, value);
            }
        }
    }

    /// Checks that a statement of that section may stand here, and moves on to it.
    fn enter(&mut self, section: Section, what: &str) -> bool {
        let message = match self.section {
            Section::Before => Some(format!("{what} stands outside a function; `func @NAME {{` opens one")),
            Section::After => Some(format!("{what} stands after the end of the function")),
            Section::Insts if section < self.section => Some(format!("{what} stands after an instruction")),
            Section::Results if section < self.section => Some(format!("{what} stands after a result")),
            _ => None,
        };
        match message {
            Some(message) => {
                self.report(IrError::new(message));
                false
            }
            None => {
                self.section = section;
                true
            }
        }
    }

    fn open(&mut self, name: String) {
        if self.section == Section::Before {
            self.func = Some(Func::new(name));
            self.lines.func = self.line;
            self.section = Section::Params;
        } else {
            self.report(IrError::new("a text holds one function, this is another one"));
        }
    }

    /// Whether code can still be built: nothing was wrong so far.
    fn target(&mut self) -> Option<&mut Func> {
        if self.errors.is_empty() { self.func.as_mut() } else { None }
    }

    fn define(&mut self, label: &'a str, ty: Option<TensorType>, value: Option<Value>) {
        let new = Known { line: self.line, ty, value };
        if let Some(old) = self.known.insert(label, new) {
            let message = format!("`%{label}` is already defined, on line {}", old.line);
            self.report(IrError::new(message).with_value(format_args!("%{label}")));
        }
    }

    /// Takes what a line that cannot be read seems to define as defined, so that its uses are no errors as well.
    fn define_outputs(&mut self, line: &'a str) {
        let line = line.trim();
        let defined = match line.split_once(char::is_whitespace) {
            Some((word, rest)) if Role::from_name(word).is_some() => {
                rest.split_whitespace().next().unwrap_or("")
            }
            _ => line.split_once('=').map_or("", |(outputs, _)| outputs),
        };
        for label in defined.split(',').filter_map(|output| output.trim().strip_prefix('%')) {
            if label.chars().all(super::is_label_char) {
                self.known.entry(label).or_insert(Known { line: self.line, ty: None, value: None });
            }
        }
    }

    /// What is known of an operand; reports it if that is nothing.
    fn look_up(&mut self, label: &str) -> Option<Known> {
        let found = self.known.get(label).cloned();
        if found.is_none() {
            let hint = self.nearest_label(label).map_or_else(String::new, |label| did_you_mean(&label));
            let message = format!("`%{label}` is not defined before this line{hint}");
            self.report(IrError::new(message).with_value(format_args!("%{label}")));
        }
        found
    }

    /// The known label that an undefined one was probably meant to be. Numbers are no names to mistype.
    fn nearest_label(&self, label: &str) -> Option<String> {
        if self.errors.len() >= MAX_ERRORS || label.chars().all(|c| c.is_ascii_digit()) {
            return None;
        }
        // Of equally near labels the first in the alphabet is named, whatever the order of the map.
        let mut labels: Vec<&str> = self.known.keys().copied().collect();
        labels.sort_unstable();
        nearest(label, labels).map(|label| format!("%{label}"))
    }

    fn param(&mut self, role: Role, label: &'a str, name: String, ty: TensorType) {
        let value = self.target().map(|func| func.add_param(name, role, ty.clone()));
        self.define(label, Some(ty), value);
        self.lines.params.push(self.line);
    }

    fn inst(&mut self, inst: Instruction<'a>) {
        self.lines.insts.push(self.line);
        let inputs: Vec<Option<Known>> = inst.inputs.iter().map(|label| self.look_up(label)).collect();
        let op = self.op(inst.mnemonic, inst.attrs);
        let counted = inst.outputs.len() == inst.types.len();
        if !counted {
            let message = format!("{} outputs, but {} types", inst.outputs.len(), inst.types.len());
            self.report_in(inst.mnemonic, message);
        }
        let types: Option<Vec<&TensorType>> =
            inputs.iter().map(|known| known.as_ref().and_then(|known| known.ty.as_ref())).collect();
        if let (Some(op), Some(types), true) = (&op, types, counted) {
            self.check_types(op, &types, &inst.outputs, &inst.types);
        }
        let operands: Option<Vec<Value>> =
            inputs.iter().map(|known| known.as_ref().and_then(|k| k.value)).collect();
        let mut values = Vec::new();
        let scope = self.scope.clone();
        if let (Some(op), Some(operands), Some(func)) = (op, operands, self.target()) {
            let asked: Vec<DType> = inst.types.iter().map(|ty| ty.dtype).collect();
            match func.push_as(op, &operands, &asked, &scope) {
                Ok(outputs) => values = outputs,
                Err(error) => self.report(error),
            }
        }
        for (i, label) in inst.outputs.iter().enumerate() {
            self.define(label, inst.types.get(i).cloned(), values.get(i).copied());
        }
    }

    fn report_in(&mut self, mnemonic: &str, message: String) {
        let error = IrError::new(message).with_op(mnemonic).with_scope(&self.scope);
        self.report(error);
    }

    fn op(&mut self, mnemonic: &str, attrs: crate::attrs::Attrs) -> Option<Op> {
        match Op::from_text(mnemonic, attrs) {
            Ok(op) => Some(op),
            Err(message) => {
                let known = Op::mnemonics();
                if known.contains(&mnemonic) {
                    self.report_in(mnemonic, message);
                } else {
                    let hint = nearest(mnemonic, known).map_or_else(String::new, did_you_mean);
                    let error = IrError::new(format!("{message}{hint}")).with_scope(&self.scope);
                    self.report(error);
                }
                None
            }
        }
    }

    /// Compares the written types with those of the type rule.
    fn check_types(&mut self, op: &Op, inputs: &[&TensorType], outputs: &[&str], written: &[TensorType]) {
        let inferred = match op.infer(inputs) {
            Ok(inferred) => inferred,
            Err(message) => {
                let operands = inputs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                self.report_in(op.mnemonic(), format!("{message} (operands: {operands})"));
                return;
            }
        };
        if inferred.len() != written.len() {
            let message = format!("has {} outputs, {} are written", inferred.len(), written.len());
            self.report_in(op.mnemonic(), message);
            return;
        }
        for ((label, inferred), written) in outputs.iter().zip(&inferred).zip(written) {
            if !elements_within_limit(&inferred.shape) {
                let message = format!("gives a tensor of more than {MAX_ELEMENTS} elements, {inferred}");
                self.report_in(op.mnemonic(), message);
            } else if inferred.shape != written.shape {
                let message = format!("`%{label}` is written as {written}, but is {inferred}");
                self.report_in(op.mnemonic(), message);
            } else if let Err(why) = op.check_asked(inputs, inferred.dtype, written.dtype) {
                let message = format!("`%{label}` is written as {written}, but is {inferred}: {why}");
                self.report_in(op.mnemonic(), message);
            }
        }
    }

    fn result(&mut self, name: String, label: &str) {
        self.lines.results.push(self.line);
        let value = self.look_up(label).and_then(|known| known.value);
        if let (Some(value), Some(func)) = (value, self.target()) {
            func.add_result(name, value);
        }
    }

    fn update(&mut self, param: &str, label: &str) {
        self.lines.results.push(self.line);
        let (target, value) = (self.look_up(param), self.look_up(label));
        if target.as_ref().is_some_and(|target| self.lines.params.binary_search(&target.line).is_err()) {
            let error = IrError::new(format!("`%{param}` is no parameter, so it cannot be updated"));
            self.report(error.with_value(format_args!("%{param}")));
        }
        let (target, value) = (target.and_then(|known| known.value), value.and_then(|known| known.value));
        if let (Some(target), Some(value), Some(func)) = (target, value, self.target())
            && let Err(error) = func.add_update(target, value)
        {
            self.report(error);
        }
    }

    fn finish(mut self) -> Result<(Func, Lines), IrErrors> {
        match self.section {
            Section::Before => self.report(IrError::new("there is no function; `func @NAME {` opens one")),
            Section::After => {}
            _ => self.report(IrError::new("the function is not closed; `}` closes it")),
        }
        if self.uncounted > 0 {
            self.errors.push(IrError::new(format!("and {} more errors", self.uncounted)));
        }
        match self.func {
            Some(func) if self.errors.is_empty() => Ok((func, self.lines)),
            _ => Err(IrErrors(self.errors)),
        }
    }
}

fn did_you_mean(name: &str) -> String {
    format!("; did you mean `{name}`?")
}
