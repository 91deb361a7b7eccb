//! From the tokens of a line to a statement.

use super::MAX_DEPTH;
use super::lex::{Token, lex};
use crate::attrs::{Attr, Attrs};
use crate::func::Role;
use crate::verify::{MAX_ELEMENTS, elements_within_limit};
use crate::{DType, TensorType};

/// What one line says. Labels are those of the text, not yet values.
#[derive(Debug, PartialEq)]
pub(super) enum Statement<'a> {
    /// `func @NAME {`
    Open { name: String },
    /// `}`
    Close,
    /// `ROLE %LABEL "NAME": TYPE`
    Param { role: Role, label: &'a str, name: String, ty: TensorType },
    /// `PATH:`
    Scope(String),
    /// `%OUT, %OUT = OP %IN, %IN {ATTRS} : TYPE, TYPE`
    Inst(Instruction<'a>),
    /// `return "NAME" = %LABEL`
    Return { name: String, value: &'a str },
    /// `update %LABEL = %LABEL`
    Update { param: &'a str, value: &'a str },
}

/// An instruction as it is written.
#[derive(Debug, PartialEq)]
pub(super) struct Instruction<'a> {
    pub(super) outputs: Vec<&'a str>,
    pub(super) mnemonic: &'a str,
    pub(super) inputs: Vec<&'a str>,
    pub(super) attrs: Attrs,
    pub(super) types: Vec<TensorType>,
}

/// Reads a line; `None` if it is empty or only a comment.
pub(super) fn statement(line: &str) -> Result<Option<Statement<'_>>, String> {
    let tokens = lex(line)?;
    if tokens.is_empty() {
        return Ok(None);
    }
    let mut cursor = Cursor { tokens: &tokens, at: 0 };
    let statement = match tokens.as_slice() {
        [Token::Word(path), Token::Punct(':')] => {
            cursor.at = 2;
            Statement::Scope((*path).to_owned())
        }
        [Token::Text(path), Token::Punct(':')] => {
            cursor.at = 2;
            Statement::Scope(path.clone())
        }
        [Token::Punct('}'), ..] => {
            cursor.at = 1;
            Statement::Close
        }
        [Token::Word("func"), ..] => cursor.open()?,
        [Token::Word("return"), ..] => cursor.result()?,
        [Token::Word("update"), ..] => cursor.update()?,
        [Token::Word(word), rest @ ..] => match (Role::from_name(word), rest) {
            (Some(role), _) => cursor.param(role)?,
            (None, [Token::Value(_), Token::Text(_), ..]) => {
                return Err(format!("`{word}` is no role of a parameter; there are input, weight and state"));
            }
            _ => cursor.instruction()?,
        },
        _ => cursor.instruction()?,
    };
    match cursor.peek() {
        None => Ok(Some(statement)),
        Some(extra) => Err(format!("{} is left over at the end of the statement", extra.shown())),
    }
}

/// A position in the tokens of a line. The tokens live as long as the borrow, what they show as long as the text.
struct Cursor<'t, 'a> {
    tokens: &'t [Token<'a>],
    at: usize,
}

impl<'a> Cursor<'_, 'a> {
    fn peek(&self) -> Option<&Token<'a>> {
        self.tokens.get(self.at)
    }

    /// Steps over a punctuation mark if it comes next.
    fn skip(&mut self, mark: char) -> bool {
        let found = self.peek() == Some(&Token::Punct(mark));
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, mark: char) -> Result<(), String> {
        if self.skip(mark) { Ok(()) } else { Err(self.unexpected(&format!("`{mark}`"))) }
    }

    fn unexpected(&self, wanted: &str) -> String {
        match self.peek() {
            Some(token) => format!("expected {wanted}, found {}", token.shown()),
            None => format!("expected {wanted}, the line ends"),
        }
    }

    fn word(&mut self, wanted: &str) -> Result<&'a str, String> {
        match self.peek() {
            Some(&Token::Word(word)) => {
                self.at += 1;
                Ok(word)
            }
            _ => Err(self.unexpected(wanted)),
        }
    }

    fn value(&mut self) -> Result<&'a str, String> {
        match self.peek() {
            Some(&Token::Value(label)) => {
                self.at += 1;
                Ok(label)
            }
            _ => Err(self.unexpected("a value such as `%0`")),
        }
    }

    fn text(&mut self) -> Result<String, String> {
        match self.peek() {
            Some(Token::Text(text)) => {
                let text = text.clone();
                self.at += 1;
                Ok(text)
            }
            _ => Err(self.unexpected("a quoted name")),
        }
    }

    fn open(&mut self) -> Result<Statement<'a>, String> {
        self.at += 1;
        self.expect('@')?;
        let name = match self.peek() {
            Some(Token::Text(_)) => self.text()?,
            _ => self.word("the function's name")?.to_owned(),
        };
        self.expect('{')?;
        Ok(Statement::Open { name })
    }

    fn param(&mut self, role: Role) -> Result<Statement<'a>, String> {
        self.at += 1;
        let label = self.value()?;
        let name = self.text()?;
        self.expect(':')?;
        let ty = self.ty()?;
        Ok(Statement::Param { role, label, name, ty })
    }

    fn result(&mut self) -> Result<Statement<'a>, String> {
        self.at += 1;
        let name = self.text()?;
        self.expect('=')?;
        Ok(Statement::Return { name, value: self.value()? })
    }

    fn update(&mut self) -> Result<Statement<'a>, String> {
        self.at += 1;
        let param = self.value()?;
        self.expect('=')?;
        Ok(Statement::Update { param, value: self.value()? })
    }

    fn instruction(&mut self) -> Result<Statement<'a>, String> {
        let mut outputs = Vec::new();
        if matches!(self.peek(), Some(Token::Value(_))) {
            outputs.push(self.value()?);
            while self.skip(',') {
                outputs.push(self.value()?);
            }
            self.expect('=')?;
        }
        let mnemonic = self.word("a statement: a parameter, an op, a result, a scope or `}`")?;
        let mut inputs = Vec::new();
        if matches!(self.peek(), Some(Token::Value(_))) {
            inputs.push(self.value()?);
            while self.skip(',') {
                inputs.push(self.value()?);
            }
        }
        let attrs = if self.skip('{') { self.attrs()? } else { Attrs::new() };
        let mut types = Vec::new();
        if self.skip(':') {
            types.push(self.ty()?);
            while self.skip(',') {
                types.push(self.ty()?);
            }
        }
        Ok(Statement::Inst(Instruction { outputs, mnemonic, inputs, attrs, types }))
    }

    /// A tensor type, such as `f32[2, 3]`.
    fn ty(&mut self) -> Result<TensorType, String> {
        let name = self.word("a type such as `f32[2, 3]`")?;
        let dtype = DType::from_name(name).ok_or_else(|| {
            format!("there is no element type `{name}`; there are {}", DType::ALL.map(DType::name).join(", "))
        })?;
        self.expect('[')?;
        let mut shape = Vec::new();
        while !self.skip(']') {
            if !shape.is_empty() {
                self.expect(',')?;
            }
            let word = self.word("the extent of an axis")?;
            shape.push(word.parse::<usize>().map_err(|_| format!("`{word}` is no extent of an axis"))?);
        }
        if !elements_within_limit(&shape) {
            return Err(format!("{shape:?} is larger than a tensor may be, {MAX_ELEMENTS} elements"));
        }
        Ok(TensorType { dtype, shape })
    }

    /// Attributes up to the closing brace.
    fn attrs(&mut self) -> Result<Attrs, String> {
        let mut attrs = Attrs::new();
        while !self.skip('}') {
            if !attrs.entries().is_empty() {
                self.expect(',')?;
            }
            let name = self.word("the name of an attribute")?;
            if attrs.entries().iter().any(|(known, _)| known == name) {
                return Err(format!("attribute `{name}` is given twice"));
            }
            self.expect('=')?;
            let value = self.attr(0)?;
            // Type rules multiply the extents of a shape, so they are bounded like those of a type.
            if name == "shape" && !elements_within_limit(&extents(&value)) {
                return Err(format!(
                    "`shape = {value}` is larger than a tensor may be, {MAX_ELEMENTS} elements"
                ));
            }
            attrs.push(name, value);
        }
        Ok(attrs)
    }

    fn attr(&mut self, depth: usize) -> Result<Attr, String> {
        if self.skip('[') {
            return self.list(depth);
        }
        let word = self.word("the value of an attribute")?;
        match word {
            "true" => return Ok(Attr::Bool(true)),
            "false" => return Ok(Attr::Bool(false)),
            "inf" => return Ok(Attr::Float(f64::INFINITY)),
            "-inf" => return Ok(Attr::Float(f64::NEG_INFINITY)),
            "NaN" => return Ok(Attr::Float(f64::NAN)),
            _ => {}
        }
        if word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            return Ok(Attr::Word(word.to_owned()));
        }
        number(word)
    }

    fn list(&mut self, depth: usize) -> Result<Attr, String> {
        if depth >= MAX_DEPTH {
            return Err(format!("lists nest at most {MAX_DEPTH} deep"));
        }
        let mut items = Vec::new();
        while !self.skip(']') {
            if !items.is_empty() {
                self.expect(',')?;
            }
            items.push(self.attr(depth + 1)?);
        }
        Ok(Attr::List(items))
    }
}

/// The whole numbers of a list.
fn extents(attr: &Attr) -> Vec<usize> {
    let Attr::List(items) = attr else { return Vec::new() };
    let whole = |item: &Attr| match item {
        Attr::Int(i) => usize::try_from(*i).ok(),
        _ => None,
    };
    items.iter().filter_map(whole).collect()
}

/// A whole number, or a real one if it is written with a point or an exponent.
fn number(word: &str) -> Result<Attr, String> {
    if let Ok(int) = word.parse::<i64>() {
        return if int.unsigned_abs() <= MAX_ELEMENTS as u64 {
            Ok(Attr::Int(int))
        } else {
            Err(format!(
                "`{word}` is beyond any number of elements; write a real number with a point or an exponent"
            ))
        };
    }
    match word.parse::<f64>() {
        Ok(real) if real.is_finite() && word.contains(['.', 'e', 'E']) => Ok(Attr::Float(real)),
        _ => Err(format!("`{word}` is no number")),
    }
}
