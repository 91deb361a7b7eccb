//! Escaping for text, quoted attribute values and JSON inside a script element.

use serde_json::Value;

/// Appends `text` so that it is plain text both between tags and inside a quoted attribute.
///
/// Control characters other than tab and line feed become U+FFFD, because HTML forbids them; so do the characters
/// that override the direction of writing, because they would turn the text around them, too.
pub(super) fn push_text(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '`' => out.push_str("&#96;"),
            '\n' | '\t' => out.push(character),
            control if control.is_control() => out.push('\u{fffd}'),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
}

/// Appends `value` as JSON in which no character can end or comment out the script element around it.
pub(super) fn push_json(out: &mut String, value: &Value) {
    for character in value.to_string().chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            other => out.push(other),
        }
    }
}
