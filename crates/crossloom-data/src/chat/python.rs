//! Where Jinja's Python shows in what a template writes.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Output, State, Value};
use serde::Serialize as _;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};

/// Writes a value as Python's `str` does where that differs: `None`, `True`, `False`.
pub(super) fn write(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    match value.kind() {
        ValueKind::None => out.write_str("None").map_err(Error::from),
        ValueKind::Bool => out.write_str(if value.is_true() { "True" } else { "False" }).map_err(Error::from),
        _ => minijinja::escape_formatter(out, state, value),
    }
}

/// `value | tojson`: as Python's `json.dumps` writes it, and not escaped for HTML.
#[expect(clippy::needless_pass_by_value, reason = "what a filter takes")]
pub(super) fn to_json(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let ascii: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    if ascii == Some(true) {
        return Err(Error::new(ErrorKind::InvalidOperation, "tojson with ensure_ascii is not built"));
    }
    let mut json = Vec::new();
    let failed = |error: serde_json::Error| Error::new(ErrorKind::BadSerialization, error.to_string());
    match indent {
        Some(indent) => {
            let spaces = " ".repeat(indent.min(64));
            let formatter = PrettyFormatter::with_indent(spaces.as_bytes());
            value.serialize(&mut Serializer::with_formatter(&mut json, formatter)).map_err(failed)?;
        }
        None => value.serialize(&mut Serializer::with_formatter(&mut json, Spaced)).map_err(failed)?,
    }
    let json = String::from_utf8(json)
        .map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    Ok(Value::from(json))
}

/// A space behind every comma and colon.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W) -> std::io::Result<()> {
        CompactFormatter.begin_object_value(out)?;
        out.write_all(b" ")
    }
}

/// `raise_exception(message)`: how a template refuses a conversation.
pub(super) fn raise(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

/// The source without the marks of what an assistant says, `{% generation %}`, which change no text. What they trim, they trim still.
pub(super) fn without_generation_marks(source: &str) -> String {
    let mut made = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let Some(end) = rest[at..].find("%}").map(|end| at + end + 2) else { break };
        let inner = &rest[at + 2..end - 2];
        let word = inner.trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim();
        let stands_for = match word {
            "generation" => Some("if true"),
            "endgeneration" => Some("endif"),
            _ => None,
        };
        match stands_for {
            Some(other) => {
                made.push_str(&rest[..at]);
                made.push_str("{%");
                made.push_str(&inner.replacen(word, other, 1));
                made.push_str("%}");
            }
            None => made.push_str(&rest[..end]),
        }
        rest = &rest[end..];
    }
    made.push_str(rest);
    made
}
