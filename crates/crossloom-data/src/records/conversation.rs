//! What all formats ask of a conversation.

use crate::chat::{Message, Part};

use super::array::{MAX_DEPTH, too_deep};
use super::{Record, path};

/// What stands for a picture in a text.
const PLACEHOLDER: &str = "<image>";

/// A text with placeholders as parts. White space around a placeholder is that of the format, not of the text.
pub(super) fn parts(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let pieces: Vec<&str> = text.split(PLACEHOLDER).collect();
    let last = pieces.len() - 1;
    for (at, piece) in pieces.into_iter().enumerate() {
        let piece = if at > 0 { piece.trim_start() } else { piece };
        let piece = if at < last { piece.trim_end() } else { piece };
        if !piece.is_empty() {
            parts.push(Part::Text { text: piece.to_owned() });
        }
        if at < last {
            parts.push(Part::Image {});
        }
    }
    parts
}

/// The role that templates know, for a speaker by any of its names.
pub(super) fn role(name: &str) -> Result<&'static str, String> {
    match name {
        "human" | "user" => Ok("user"),
        "gpt" | "assistant" | "model" => Ok("assistant"),
        "system" => Ok("system"),
        other => Err(format!("nobody is called `{}`: user, assistant and system are", short(other))),
    }
}

/// A record, if it can be learned from: turns of user and assistant that end in an answer, and a place for every picture.
pub(super) fn record(pictures: Vec<String>, messages: Vec<Message>) -> Result<Record, String> {
    let mut problems = Vec::new();
    let turns = messages.iter().skip_while(|message| message.role == "system");
    let systems = messages.len() - turns.clone().count();
    if systems > 1 {
        problems.push(format!("{systems} messages of a system begin it"));
    }
    for (at, message) in turns.clone().enumerate() {
        let (number, expected) = (systems + at + 1, if at % 2 == 0 { "user" } else { "assistant" });
        if message.role != expected {
            problems.push(format!(
                "message {number} is the {}'s, where the {expected}'s is expected",
                message.role
            ));
            break;
        }
        let said = message.content.iter().any(|part| match part {
            Part::Text { text } => !text.trim().is_empty(),
            Part::Image {} => expected == "user",
        });
        if !said {
            problems.push(format!("message {number}, the {expected}'s, is blank"));
        }
        if expected == "assistant" && message.pictures() > 0 {
            problems.push(format!("message {number} is an answer with a picture"));
        }
    }
    match turns.count() {
        0 => problems.push("nothing is asked".to_owned()),
        turns if turns % 2 == 1 => problems.push("the last question has no answer".to_owned()),
        _ => {}
    }
    let shown: usize = messages.iter().map(Message::pictures).sum();
    if shown != pictures.len() {
        let given = pictures.len();
        problems.push(format!("its texts have {shown} places for pictures, and {given} are given"));
    }
    for name in &pictures {
        if let Err(problem) = path::plain(name) {
            problems.push(format!("the picture `{}` {problem}", short(name).escape_debug()));
        }
    }
    if problems.is_empty() {
        Ok(Record { pictures, messages, embedded: Vec::new() })
    } else {
        Err(problems.join("; "))
    }
}

/// The beginning of a text for a message.
pub(super) fn short(text: &str) -> &str {
    text.char_indices().nth(60).map_or(text, |(end, _)| &text[..end])
}

/// One picture, several, or none.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(untagged)]
pub(super) enum Pictures {
    /// Absent or null.
    #[default]
    None,
    /// A path.
    One(String),
    /// Paths.
    Many(Vec<String>),
}

impl Pictures {
    pub(super) fn into_vec(self) -> Vec<String> {
        match self {
            Self::None => Vec::new(),
            Self::One(path) => vec![path],
            Self::Many(paths) => paths,
        }
    }
}

/// What a row holds as JSON, of bounded depth.
pub(super) fn json<'r, T: serde::Deserialize<'r>>(row: &'r [u8]) -> Result<T, String> {
    if depth(row) > MAX_DEPTH {
        return Err(too_deep());
    }
    serde_json::from_slice(row).map_err(|error| format!("no such row: {error}"))
}

/// How deep brackets are nested outside texts, at the most.
fn depth(row: &[u8]) -> u32 {
    let (mut depth, mut deepest, mut text, mut escaped) = (0_u32, 0_u32, false, false);
    for &byte in row {
        match (text, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => text = !text,
            (false, b'{' | b'[') => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            (false, b'}' | b']') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}
