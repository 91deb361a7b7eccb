//! Rows that are lines.

use std::io::BufRead;

use super::{MAX_ROW_BYTES, Place};

/// Tells the place of every line that is not blank.
pub(super) fn index(mut file: impl BufRead, told: &mut dyn FnMut(Place)) -> Result<(), (u64, String)> {
    let (mut line, mut start, mut len, mut blank) = (1_u64, 0_u64, 0_u64, true);
    loop {
        let bytes = file.fill_buf().map_err(|error| (line, error.to_string()))?;
        let end = bytes.iter().position(|&byte| byte == b'\n');
        let part = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        len += part.len() as u64;
        blank &= part.iter().all(u8::is_ascii_whitespace);
        if len > MAX_ROW_BYTES as u64 {
            return Err((line, too_long()));
        }
        let (read, at_end) = (part.len() + usize::from(end.is_some()), bytes.is_empty());
        file.consume(read);
        if end.is_none() && !at_end {
            continue;
        }
        if !blank {
            told(Place { line, start, len: len as u32, members: Box::default() });
        }
        if at_end {
            return Ok(());
        }
        start += len + 1;
        (line, len, blank) = (line + 1, 0, true);
    }
}

/// What is said of a row that is too long.
pub(super) fn too_long() -> String {
    format!("the row is longer than {} MiB", MAX_ROW_BYTES >> 20)
}
