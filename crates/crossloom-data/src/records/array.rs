//! Rows that are the elements of one JSON array, found without reading it as a whole.

use std::io::BufRead;

use super::lines::too_long;
use super::{MAX_ROW_BYTES, Place};

/// The deepest nesting of a row; serde has the same bound on what it reads, and none on what it passes over.
pub(super) const MAX_DEPTH: u32 = 127;

/// What the walk stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// In front of the array.
    Before,
    /// In front of an element, or of the array's end where there was none yet.
    Element,
    /// In an element.
    Inside,
    /// In a text of an element, behind a backslash or not.
    Text { escaped: bool },
    /// Behind an element.
    Behind,
    /// Behind the array.
    After,
}

/// What is said of a row that is nested too deep.
pub(super) fn too_deep() -> String {
    format!("the row is nested more than {MAX_DEPTH} deep")
}

/// Tells the place of every element. Elements are cut at commas by depth and by texts; what lies between is for the parser to judge.
pub(super) fn index(mut file: impl BufRead, told: &mut dyn FnMut(Place)) -> Result<(), (u64, String)> {
    let (mut state, mut depth, mut line, mut at) = (State::Before, 0_u32, 1_u64, 0_u64);
    let (mut start, mut begun, mut elements) = (0_u64, 1_u64, 0_u64);
    loop {
        let bytes = file.fill_buf().map_err(|error| (line, error.to_string()))?;
        if bytes.is_empty() {
            break;
        }
        let read = bytes.len();
        for &byte in bytes {
            state = match (state, byte) {
                (State::Text { escaped: true }, _) => State::Text { escaped: false },
                (State::Text { .. }, b'\\') => State::Text { escaped: true },
                (State::Text { .. }, b'"') => State::Inside,
                (State::Text { .. }, _) | (State::Inside, b'"') => State::Text { escaped: false },
                (State::Inside, b'{' | b'[') => {
                    depth += 1;
                    if depth > MAX_DEPTH {
                        return Err((line, too_deep()));
                    }
                    State::Inside
                }
                (State::Inside, b'}' | b']') if depth > 1 => {
                    depth -= 1;
                    State::Inside
                }
                (State::Inside, b'}' | b']') => {
                    elements += 1;
                    told(Place { line: begun, start, len: (at + 1 - start) as u32, members: Box::default() });
                    State::Behind
                }
                (State::Inside, _) => State::Inside,
                (state, byte) if byte.is_ascii_whitespace() => state,
                (State::Before, b'[') | (State::Behind, b',') => State::Element,
                (State::Element, b'{') => {
                    (start, begun, depth) = (at, line, 1);
                    State::Inside
                }
                (State::Element, b']') if elements == 0 => State::After,
                (State::Behind, b']') => State::After,
                (State::Before, _) => return Err((line, "it begins with no `[`".to_owned())),
                (State::After, _) => return Err((line, "something follows the end of the array".to_owned())),
                (State::Element | State::Behind, byte) => {
                    let found = char::from(byte).escape_default();
                    return Err((line, format!("an element `{{…}}` or the end is expected, not `{found}`")));
                }
            };
            if matches!(state, State::Inside | State::Text { .. }) && at - start >= MAX_ROW_BYTES as u64 {
                return Err((begun, too_long()));
            }
            line += u64::from(byte == b'\n');
            at += 1;
        }
        file.consume(read);
    }
    match state {
        State::After => Ok(()),
        _ if at == 0 => Ok(()),
        _ => Err((line, "the file ends within the array".to_owned())),
    }
}
