//! From a line of text to tokens.

use super::{is_label_char, is_word_char};

/// A piece of a line.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'a> {
    /// A keyword, mnemonic, attribute name, number or scope path.
    Word(&'a str),
    /// The label of a value, without its `%`.
    Value(&'a str),
    /// A quoted string, unescaped.
    Text(String),
    /// One of `@ { } [ ] , : =`.
    Punct(char),
}

impl Token<'_> {
    /// How the token is named in an error message.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Word(word) => format!("`{word}`"),
            Self::Value(label) => format!("`%{label}`"),
            Self::Text(text) => format!("{text:?}"),
            Self::Punct(c) => format!("`{c}`"),
        }
    }
}

/// Splits a line into tokens; a comment ends it.
pub(super) fn lex(line: &str) -> Result<Vec<Token<'_>>, String> {
    let mut tokens = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let token = match first {
            ';' => break,
            '"' => {
                let (text, after) = quoted(&rest[1..])?;
                rest = after;
                Token::Text(text)
            }
            '%' => {
                let (label, after) = run(&rest[1..], is_label_char);
                if label.is_empty() {
                    return Err("`%` needs a label: letters, digits, `_` or `.`".to_owned());
                }
                rest = after;
                Token::Value(label)
            }
            '@' | '{' | '}' | '[' | ']' | ',' | ':' | '=' => {
                rest = &rest[1..];
                Token::Punct(first)
            }
            c if is_word_char(c) => {
                let (word, after) = run(rest, is_word_char);
                rest = after;
                Token::Word(word)
            }
            c => return Err(format!("the character {c:?} has no meaning here")),
        };
        tokens.push(token);
        rest = rest.trim_start();
    }
    Ok(tokens)
}

/// The longest beginning made of such characters, and the rest.
fn run(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !belongs(c)).unwrap_or(text.len());
    text.split_at(end)
}

/// The string up to its closing quote, and what follows that.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((out, &text[at + 1..])),
            '\\' => match chars.next().map(|(_, c)| c) {
                Some('n') => out.push('\n'),
                Some('r') => out.push('\r'),
                Some('t') => out.push('\t'),
                Some(c @ ('"' | '\\')) => out.push(c),
                Some('u') => {
                    let inner = chars.as_str();
                    let (code, length) = unicode_escape(inner)?;
                    out.push(code);
                    for _ in 0..length {
                        chars.next();
                    }
                }
                _ => return Err("unknown escape; there are \\\" \\\\ \\n \\r \\t and \\u{HEX}".to_owned()),
            },
            c => out.push(c),
        }
    }
    Err("a string has no closing quote on its line".to_owned())
}

/// The character of `{HEX}` at the beginning of a text, and how many characters that takes.
fn unicode_escape(text: &str) -> Result<(char, usize), String> {
    let bad = || "\\u needs the hexadecimal number of a character in braces".to_owned();
    let hex = text.strip_prefix('{').and_then(|t| t.split_once('}')).map(|(hex, _)| hex).ok_or_else(bad)?;
    if hex.is_empty() || hex.len() > 6 || !hex.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err(bad());
    }
    let code = u32::from_str_radix(hex, 16).map_err(|_| bad())?;
    Ok((char::from_u32(code).ok_or_else(bad)?, hex.len() + 2))
}
