//! Errors of the IR: each says where (op, value, scope or text position) and what is wrong.

use std::fmt;

/// One thing that is wrong with a function, an op application or an IR text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct IrError {
    /// What is wrong, and where known what would be right.
    pub message: String,
    /// The op it is about, as printed.
    pub op: Option<String>,
    /// The value it is about, as printed.
    pub value: Option<String>,
    /// The scope path it happened in.
    pub scope: Option<String>,
    /// Line of the IR text, counted from 1, for errors of the parser.
    pub line: Option<usize>,
}

impl IrError {
    /// An error that so far only has a message.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), op: None, value: None, scope: None, line: None }
    }

    /// The same error, about that op.
    #[must_use]
    pub fn with_op(mut self, op: impl fmt::Display) -> Self {
        self.op.get_or_insert_with(|| op.to_string());
        self
    }

    /// The same error, about that value.
    #[must_use]
    pub fn with_value(mut self, value: impl fmt::Display) -> Self {
        self.value.get_or_insert_with(|| value.to_string());
        self
    }

    /// The same error, in that scope.
    #[must_use]
    pub fn with_scope(mut self, scope: impl fmt::Display) -> Self {
        self.scope.get_or_insert_with(|| scope.to_string());
        self
    }

    /// The same error, at that line of an IR text.
    #[must_use]
    pub fn with_line(mut self, line: usize) -> Self {
        self.line.get_or_insert(line);
        self
    }
}

impl fmt::Display for IrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if let Some(op) = &self.op {
            write!(f, "{op}: ")?;
        }
        f.write_str(&self.message)?;
        if let Some(value) = &self.value {
            write!(f, " [value {value}]")?;
        }
        if let Some(scope) = self.scope.as_deref().filter(|scope| !scope.is_empty()) {
            write!(f, " [in {scope}]")?;
        }
        Ok(())
    }
}

/// All errors that were found; never empty when returned as an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct IrErrors(pub Vec<IrError>);

impl fmt::Display for IrErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl From<IrError> for IrErrors {
    fn from(error: IrError) -> Self {
        Self(vec![error])
    }
}
