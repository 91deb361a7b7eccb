//! The parts of a filetest: header, function, trailer.

use crossloom_ir::interp::Tensor;
use crossloom_ir::{Func, text, verify};

use super::tensor;

/// A filetest taken apart.
#[derive(Clone, Debug)]
pub struct Source {
    kind: String,
    argument: String,
    header: Vec<String>,
    function: Vec<String>,
    trailer: Vec<String>,
}

impl Source {
    /// Takes a file apart: the header ends where the first line begins that is no comment, the function with `}`.
    ///
    /// # Errors
    /// There is no `test` directive in the header, or more than one.
    pub fn read(text: &str) -> Result<Self, String> {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let is_comment = |line: &String| line.trim().is_empty() || line.starts_with(';');
        let start = lines.iter().position(|line| !is_comment(line)).unwrap_or(lines.len());
        let end = lines.iter().rposition(|line| line == "}").map_or(lines.len(), |at| at + 1).max(start);
        let header = lines[..start].to_vec();
        let tests: Vec<&str> = header.iter().filter_map(|line| line.strip_prefix("; test ")).collect();
        let [test] = tests.as_slice() else {
            return Err(format!("the header needs one line `; test KIND`, there are {}", tests.len()));
        };
        let (kind, argument) = test.trim().split_once(' ').unwrap_or((test.trim(), ""));
        Ok(Self {
            kind: kind.to_owned(),
            argument: argument.trim().to_owned(),
            function: lines[start..end].to_vec(),
            trailer: lines[end..].to_vec(),
            header,
        })
    }

    /// The kind that the `test` directive names.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// What follows the kind in the `test` directive.
    pub fn argument(&self) -> &str {
        &self.argument
    }

    /// All lines of the file.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.header.iter().chain(&self.function).chain(&self.trailer).map(String::as_str)
    }

    /// The lines after the function.
    pub fn trailer(&self) -> &[String] {
        &self.trailer
    }

    /// What follows a word in the header, for every line that begins with it; continuation lines are joined.
    pub fn directives(&self, word: &str) -> Vec<String> {
        let prefix = format!("; {word} ");
        let joined = join_continuations(&self.header);
        joined
            .iter()
            .filter_map(|line| line.strip_prefix(&prefix))
            .map(|rest| rest.trim().to_owned())
            .collect()
    }

    /// The file with another trailer.
    pub fn with_trailer(&self, trailer: &str) -> String {
        let mut out = String::new();
        for line in self.header.iter().chain(&self.function) {
            out.push_str(line);
            out.push('\n');
        }
        out + trailer
    }

    /// The file with the text of a function in comments as its trailer.
    pub fn with_commented(&self, func: &Func) -> String {
        let mut trailer = String::from("\n");
        for line in text::print(func).lines() {
            trailer.push_str(if line.is_empty() { ";" } else { "; " });
            trailer.push_str(line);
            trailer.push('\n');
        }
        self.with_trailer(&trailer)
    }

    /// The function, after checking that it is well-formed and that its text form reads back.
    ///
    /// # Errors
    /// It does not parse or verify, or is another one after printing and reading.
    pub fn func(&self) -> Result<Func, String> {
        let source: Vec<&str> = self.lines().collect();
        let func = text::parse(&source.join("\n")).map_err(|errors| errors.to_string())?;
        checked(func)
    }

    /// Arguments for a function: as the header's `with` lines say, else seeded reals for floats.
    ///
    /// # Errors
    /// A line cannot be read, names no parameter, or there is none for an integer parameter.
    pub fn arguments(&self, func: &Func) -> Result<Vec<Tensor<f64>>, String> {
        arguments(func, &self.directives("with"), true)
    }
}

/// A function that is well-formed and reads back from its text form.
///
/// # Errors
/// It does not verify, or its text form does not read back.
pub(super) fn checked(func: Func) -> Result<Func, String> {
    verify::verify(&func).map_err(|errors| format!("does not verify:\n{errors}"))?;
    let printed = text::print(&func);
    let again =
        text::parse(&printed).map_err(|errors| format!("does not read back:\n{errors}\n{printed}"))?;
    if text::print(&again) == printed { Ok(func) } else { Err(format!("reads back differently:\n{printed}")) }
}

/// Arguments in order of the parameters, from assignments `"name" = TENSOR`.
pub(super) fn arguments(
    func: &Func,
    assignments: &[String],
    seeded: bool,
) -> Result<Vec<Tensor<f64>>, String> {
    let mut given: Vec<(String, &str)> = Vec::new();
    for assignment in assignments {
        let (name, value) = assigned(assignment)?;
        if func.param(&name).is_none() {
            return Err(format!("there is no parameter `{name}` for `with {assignment}`"));
        }
        if given.iter().any(|(known, _)| *known == name) {
            return Err(format!("parameter `{name}` is given twice"));
        }
        given.push((name, value));
    }
    let mut arguments = Vec::new();
    for (index, param) in func.params().iter().enumerate() {
        let ty = func.ty(param.value);
        let text = given.iter().find(|(name, _)| *name == param.name).map(|(_, value)| *value);
        let tensor = match text {
            Some(text) => tensor::read(text, ty),
            None if seeded && !ty.dtype.is_integer() => tensor::read(&format!("uniform {}", index + 1), ty),
            None => Err("there is no `with` line for it".to_owned()),
        };
        arguments.push(tensor.map_err(|message| format!("parameter `{}`: {message}", param.name))?);
    }
    Ok(arguments)
}

/// The name and the value of `"name" = VALUE`.
pub(super) fn assigned(text: &str) -> Result<(String, &str), String> {
    let bad = || format!("`{text}` is no assignment `\"name\" = VALUE`");
    let (name, value) = text.strip_prefix('"').and_then(|rest| rest.split_once('"')).ok_or_else(bad)?;
    let value = value.trim_start().strip_prefix('=').ok_or_else(bad)?;
    Ok((name.to_owned(), value.trim()))
}

/// Lines of which those that begin with `;` and three or more spaces are joined to the line before.
pub(super) fn join_continuations(lines: &[String]) -> Vec<String> {
    let mut joined: Vec<String> = Vec::new();
    for line in lines {
        match (line.strip_prefix(";   "), joined.last_mut()) {
            (Some(rest), Some(last)) => {
                last.push(' ');
                last.push_str(rest.trim());
            }
            _ => joined.push(line.clone()),
        }
    }
    joined
}
