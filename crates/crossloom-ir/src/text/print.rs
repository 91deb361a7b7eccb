//! From functions to text.

use std::fmt::{self, Write as _};

use super::is_bare;
use crate::func::{InstData, ResultDef};
use crate::{Func, Value};

/// The text of a function, with its values renumbered densely in print order.
pub fn print(func: &Func) -> String {
    func.to_string()
}

impl fmt::Display for Func {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = Numbers::new(self);
        writeln!(f, "func @{} {{", Name(&self.name))?;
        for param in self.params() {
            let (role, value, ty) = (param.role.name(), numbers.show(param.value), self.ty(param.value));
            writeln!(f, "  {role:<6} {value} {}: {ty}", Quoted(&param.name))?;
        }
        let (mut scope, mut indent) = ("", "  ");
        for (index, inst) in self.insts().iter().enumerate() {
            let changed = inst.scope.as_str() != scope;
            if changed || (index == 0 && !self.params().is_empty()) {
                f.write_char('\n')?;
            }
            if changed {
                (scope, indent) = (inst.scope.as_str(), "    ");
                writeln!(f, "  {}:", Name(scope))?;
            }
            writeln!(f, "{indent}{}", Line { func: self, inst, numbers: &numbers })?;
        }
        let has_body = !self.params().is_empty() || !self.insts().is_empty();
        if has_body && !self.results().is_empty() {
            f.write_char('\n')?;
        }
        for ResultDef { name, value, updates } in self.results() {
            let value = numbers.show(*value);
            match updates.and_then(|index| self.params().get(index)) {
                None => writeln!(f, "  return {} = {value}", Quoted(name))?,
                Some(param) => writeln!(f, "  update {} = {value}", numbers.show(param.value))?,
            }
        }
        f.write_str("}\n")
    }
}

/// The printed number of every value.
struct Numbers(Vec<Option<usize>>);

impl Numbers {
    fn new(func: &Func) -> Self {
        let mut numbers = vec![None; func.value_count()];
        let defined = func.params().iter().map(|p| p.value);
        let defined = defined.chain(func.insts().iter().flat_map(|inst| inst.outputs.iter().copied()));
        for (number, value) in defined.enumerate() {
            if let Some(slot) = numbers.get_mut(value.index()) {
                *slot = Some(number);
            }
        }
        Self(numbers)
    }

    /// The label; a value that nothing defines, which only an ill-formed function has, gets one that does not read back.
    fn show(&self, value: Value) -> String {
        match self.0.get(value.index()).copied().flatten() {
            Some(number) => format!("%{number}"),
            None => format!("%?{}", value.0),
        }
    }

    fn list(&self, values: &[Value]) -> String {
        values.iter().map(|&v| self.show(v)).collect::<Vec<_>>().join(", ")
    }
}

/// One instruction.
struct Line<'a> {
    func: &'a Func,
    inst: &'a InstData,
    numbers: &'a Numbers,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let InstData { op, inputs, outputs, .. } = self.inst;
        if !outputs.is_empty() {
            write!(f, "{} = ", self.numbers.list(outputs))?;
        }
        f.write_str(op.mnemonic())?;
        if !inputs.is_empty() {
            write!(f, " {}", self.numbers.list(inputs))?;
        }
        write!(f, "{}", op.attrs())?;
        for (i, &output) in outputs.iter().enumerate() {
            write!(f, "{}{}", if i == 0 { " : " } else { ", " }, self.func.ty(output))?;
        }
        Ok(())
    }
}

/// A name that is quoted only if it has to be.
struct Name<'a>(&'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_bare(self.0) { f.write_str(self.0) } else { Quoted(self.0).fmt(f) }
    }
}

/// A string in quotes, with escapes.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                // Control characters, and the separators that some editors break lines at.
                c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                    write!(f, "\\u{{{:x}}}", u32::from(c))?;
                }
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}
