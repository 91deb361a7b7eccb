//! The texts that a recipe is made of, and places in them.

use super::{Diagnostic, Diagnostics, Finding, Location, Severity};

/// A place in one of the [`Sources`]: a byte range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Span {
    pub(crate) source: usize,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Span {
    /// A source as a whole, rather than a place in it.
    pub(crate) fn whole(source: usize) -> Self {
        Self { source, start: 0, end: 0 }
    }
}

/// Where a text comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SourceKind {
    /// A file that the user wrote.
    File,
    /// A built-in preset.
    Preset,
    /// What pretrained weights say of their model.
    Model,
    /// One `--set` of the command line.
    Set,
}

struct Source {
    kind: SourceKind,
    /// As the user knows it.
    name: String,
    /// As seen from the recipe's folder.
    short: String,
    text: String,
}

/// All texts, in the order in which they were read.
#[derive(Default)]
pub(crate) struct Sources {
    list: Vec<Source>,
}

/// Longest part of a line that is kept as an excerpt, in characters.
const EXCERPT: usize = 160;

impl Sources {
    pub(crate) fn add(&mut self, kind: SourceKind, name: String, short: String, text: String) -> usize {
        self.list.push(Source { kind, name, short, text });
        self.list.len() - 1
    }

    /// `quickstart.toml:14`, `--set` or `preset siglip`.
    pub(crate) fn place(&self, span: Span) -> String {
        let Some(source) = self.list.get(span.source) else { return String::new() };
        match source.kind {
            SourceKind::File => format!("{}:{}", source.short, line_of(&source.text, span.start).0),
            SourceKind::Preset | SourceKind::Model | SourceKind::Set => source.short.clone(),
        }
    }

    fn locate(&self, span: Span) -> Option<Location> {
        let source = self.list.get(span.source)?;
        let start = floor_boundary(&source.text, span.start);
        let end = floor_boundary(&source.text, span.end).max(start);
        let (line, line_start) = line_of(&source.text, start);
        let line_text = source.text.get(line_start..)?.lines().next().unwrap_or("");
        let column = source.text.get(line_start..start)?.chars().count();
        let covered = source.text.get(start..end)?.lines().next().unwrap_or("");
        let width = covered.chars().count().max(1);

        // A very long line is cut around the place.
        let long = line_text.chars().count() > EXCERPT;
        let skip = if long && column > EXCERPT / 2 { column - EXCERPT / 4 } else { 0 };
        let visible = |c: char| if c.is_control() { if c == '\t' { ' ' } else { '\u{fffd}' } } else { c };
        let whole = span == Span::whole(span.source);
        let shown = if whole { 0 } else { EXCERPT };
        let excerpt: String = line_text.chars().skip(skip).take(shown).map(visible).collect();
        let caret = column - skip;
        let width = width.min(EXCERPT.saturating_sub(caret)).max(1);
        Some(Location {
            file: source.name.clone(),
            start,
            end,
            line,
            column: column + 1,
            excerpt,
            caret,
            width,
        })
    }

    pub(crate) fn diagnostic(&self, finding: &Finding) -> Diagnostic {
        Diagnostic {
            severity: finding.severity,
            message: finding.message.clone(),
            location: finding.span.and_then(|span| self.locate(span)),
            help: Some(finding.help.clone()),
            notes: finding
                .related
                .iter()
                .map(|(what, span)| format!("{what} at {}", self.place(*span)))
                .collect(),
            variant: finding.variant.clone(),
        }
    }

    /// Errors first, then warnings; within each, in the order of files and lines. The same finding in several variants
    /// is kept once.
    pub(crate) fn diagnostics(&self, findings: &[Finding]) -> Diagnostics {
        let mut unique: Vec<&Finding> = Vec::new();
        for finding in findings {
            let known = unique.iter().any(|other| {
                other.span == finding.span
                    && other.message == finding.message
                    && other.severity == finding.severity
            });
            if !known {
                unique.push(finding);
            }
        }
        unique.sort_by_key(|finding| (finding.severity != Severity::Error, finding.span));
        Diagnostics { list: unique.into_iter().map(|finding| self.diagnostic(finding)).collect() }
    }
}

/// Line number from 1, and the byte at which the line starts.
fn line_of(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..floor_boundary(text, byte)).unwrap_or(text);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    (line, before.rfind('\n').map_or(0, |newline| newline + 1))
}

fn floor_boundary(text: &str, byte: usize) -> usize {
    let mut byte = byte.min(text.len());
    while !text.is_char_boundary(byte) {
        byte -= 1;
    }
    byte
}
