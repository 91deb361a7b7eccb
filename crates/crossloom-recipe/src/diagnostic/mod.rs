//! What went wrong in a recipe, where, and what to do: plain data that a terminal, an editor or `--json` can show.

mod render;
mod sources;
mod suggest;

pub(crate) use sources::{SourceKind, Sources, Span};
pub(crate) use suggest::{any_of, did_you_mean, listed, nearest, suggestion};

use serde::Serialize;

/// How bad a diagnostic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The recipe cannot be used.
    Error,
    /// The recipe can be used, but something in it is probably not meant.
    Warning,
}

/// A place in a file or in a `--set`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Location {
    /// The file as the user knows it, or `--set`.
    pub file: String,
    /// First byte of the place.
    pub start: usize,
    /// Byte after the place.
    pub end: usize,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The text of the line, or the part of a very long line around the place. Tabs are one space, other control
    /// characters one replacement character each. Empty when the whole file is meant.
    pub excerpt: String,
    /// Where in the excerpt the place starts, in characters from 0.
    pub caret: usize,
    /// How many characters are meant, at least 1.
    pub width: usize,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one line.
    pub message: String,
    /// Where. Absent when a whole file is meant, for example one that cannot be read.
    pub location: Option<Location>,
    /// What to write instead.
    pub help: Option<String>,
    /// Other places that take part, for example where an inherited value comes from.
    pub notes: Vec<String>,
    /// The variant in which it occurs, when it does not occur in the recipe itself.
    pub variant: Option<String>,
}

/// Everything that was found in a recipe that cannot be used: errors first, then warnings, each in the order of the
/// files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Diagnostics {
    /// The findings.
    pub list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// How many of them are errors.
    pub fn errors(&self) -> usize {
        self.list.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count()
    }
}

impl std::error::Error for Diagnostics {}

/// A finding that still points into the sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    pub(crate) message: String,
    pub(crate) span: Option<Span>,
    /// What to do. Every finding has one: see [`Unhelped`].
    pub(crate) help: String,
    /// Other places that take part, each with what is written there.
    pub(crate) related: Vec<(String, Span)>,
    pub(crate) variant: Option<String>,
}

/// A finding that does not say yet what to do. Whoever reports one has to.
#[derive(Debug)]
pub(crate) struct Unhelped {
    severity: Severity,
    message: String,
    span: Option<Span>,
}

impl Finding {
    pub(crate) fn error(span: impl Into<Option<Span>>, message: impl Into<String>) -> Unhelped {
        Unhelped { severity: Severity::Error, message: message.into(), span: span.into() }
    }

    pub(crate) fn warning(span: impl Into<Option<Span>>, message: impl Into<String>) -> Unhelped {
        Unhelped { severity: Severity::Warning, message: message.into(), span: span.into() }
    }

    /// Adds another place, if it is known.
    pub(crate) fn related(mut self, what: impl Into<String>, span: Option<Span>) -> Self {
        self.related.extend(span.map(|span| (what.into(), span)));
        self
    }
}

impl Unhelped {
    /// What to write instead.
    pub(crate) fn help(self, help: impl Into<String>) -> Finding {
        let Self { severity, message, span } = self;
        Finding { severity, message, span, help: help.into(), related: Vec::new(), variant: None }
    }

    /// A specific hint if there is one, else the general one.
    pub(crate) fn help_or(self, help: Option<String>, general: impl Into<String>) -> Finding {
        self.help(help.unwrap_or_else(|| general.into()))
    }
}
