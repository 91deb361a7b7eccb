//! TOML text to a [`Node`].

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Entry, Node, Table, Value};
use crate::diagnostic::{Finding, Span};

/// Parses a document; all syntax errors are reported.
pub(crate) fn parse_document(text: &str, source: usize) -> Result<Node, Vec<Finding>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut findings: Vec<Finding> = errors.iter().map(|error| syntax_error(error, text, source)).collect();
    let builder = Builder { text, source };
    let span = Span { source, start: 0, end: 0 };
    let table = builder.table(document.get_ref(), &mut findings);
    if findings.is_empty() { Ok(Node::new(Value::Table(table), span)) } else { Err(findings) }
}

/// Parses a single value that starts at byte `offset` of its source; `None` when it is not a TOML value.
pub(crate) fn parse_value(text: &str, source: usize, offset: usize) -> Option<Node> {
    let value = DeValue::parse(text).ok()?;
    let mut findings = Vec::new();
    let mut node = Builder { text, source }.node(&value, &mut findings);
    shift(&mut node, offset);
    findings.is_empty().then_some(node)
}

fn shift(node: &mut Node, offset: usize) {
    let moved = |span: &mut Span| {
        span.start += offset;
        span.end += offset;
    };
    moved(&mut node.span);
    match &mut node.value {
        Value::Array(items) => items.iter_mut().for_each(|item| shift(item, offset)),
        Value::Table(table) => table.values_mut().for_each(|entry| {
            moved(&mut entry.key);
            shift(&mut entry.node, offset);
        }),
        _ => {}
    }
}

fn syntax_error(error: &toml::de::Error, text: &str, source: usize) -> Finding {
    let span = error.span().unwrap_or(text.len()..text.len());
    let finding = Finding::error(
        Span { source, start: span.start, end: span.end },
        format!("this is not TOML: {}", error.message()),
    );
    match error.message() {
        "duplicate key" => finding.help("every key may be written once per table; remove one of the two"),
        message if message.starts_with("string values must be quoted") => {
            finding.help("put the value in quotes")
        }
        _ => finding.help("TOML has lines `key = value` under headings `[table]`; strings are in quotes"),
    }
}

struct Builder<'t> {
    text: &'t str,
    source: usize,
}

impl Builder<'_> {
    fn span(&self, range: std::ops::Range<usize>) -> Span {
        Span { source: self.source, start: range.start, end: range.end.min(self.text.len()) }
    }

    /// A table whose keys are in the order in which they are written.
    fn table(&self, table: &DeTable<'_>, findings: &mut Vec<Finding>) -> Table {
        let mut entries: Vec<(String, Entry)> = table
            .iter()
            .map(|(key, value)| {
                let entry = Entry { key: self.span(key.span()), node: self.node(value, findings) };
                (key.get_ref().to_string(), entry)
            })
            .collect();
        entries.sort_by_key(|(_, entry)| entry.key);
        entries.into_iter().collect()
    }

    fn node(&self, value: &Spanned<DeValue<'_>>, findings: &mut Vec<Finding>) -> Node {
        let span = self.span(value.span());
        let value = match value.get_ref() {
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Integer(integer) => {
                Value::Integer(i64::from_str_radix(integer.as_str(), integer.radix()).unwrap_or_else(|_| {
                    findings.push(
                        Finding::error(span, "this integer does not fit into 64 bits")
                            .help("write a smaller number, or one with a decimal point"),
                    );
                    0
                }))
            }
            DeValue::Float(float) => Value::Float(float.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(yes) => Value::Boolean(*yes),
            DeValue::Datetime(_) => Value::Datetime,
            DeValue::Array(items) => {
                Value::Array(items.iter().map(|item| self.node(item, findings)).collect())
            }
            DeValue::Table(table) => Value::Table(self.table(table, findings)),
        };
        Node::new(value, span)
    }
}
