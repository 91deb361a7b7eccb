//! Whether a file is a whole library of this machine.
//!
//! The system's loader maps what a file's headers say without comparing it with the file's length. A library that was cut short, as by a
//! download that broke off, then ends the process at the first access behind its end. So headers and length are compared first.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Bytes of the header of a 64-bit file.
const HEADER: usize = 64;
/// Bytes of one entry of the table of segments.
const ENTRY: usize = 56;
/// Segments that are loaded.
const LOAD: u64 = 1;
/// A file that is a library.
const SHARED: u64 = 3;
/// The most segments that are believed.
const MOST: usize = 512;

/// Checks that a file is a 64-bit library for this processor and as long as its headers say.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(path: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot be read: {error}");
    let metadata = std::fs::metadata(path).map_err(failed)?;
    // A pipe would be waited for.
    if !metadata.is_file() {
        return Err("is no file".to_owned());
    }
    let mut start = Vec::new();
    let limit = (HEADER + MOST * ENTRY) as u64;
    File::open(path).and_then(|file| file.take(limit).read_to_end(&mut start)).map_err(failed)?;
    let short = || format!("is cut short: it has {} bytes", metadata.len());
    if start.get(..4) != Some(b"\x7fELF") {
        return Err("is no library".to_owned());
    }
    let number = |at: usize, bytes: usize| number(&start, at, bytes).ok_or_else(short);
    if (number(4, 1)?, number(5, 1)?) != (2, 1) || number(18, 2)? != machine() {
        return Err(format!("is made for another processor than {}", std::env::consts::ARCH));
    }
    if number(16, 2)? != SHARED {
        return Err("is no library".to_owned());
    }
    let (table, entry, count) = (number(32, 8)? as usize, number(54, 2)? as usize, number(56, 2)? as usize);
    if entry != ENTRY || count > MOST || table != HEADER {
        return Err("has a table of segments that no linker writes".to_owned());
    }
    for segment in 0..count {
        let at = table + segment * entry;
        let end = number(at + 8, 8)?.checked_add(number(at + 32, 8)?);
        if number(at, 4)? == LOAD && end.is_none_or(|end| end > metadata.len()) {
            return Err(short());
        }
    }
    Ok(())
}

/// A little-endian number.
fn number(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    let slice = bytes.get(at..at.checked_add(len)?)?;
    Some(slice.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

/// What the header of a library says that runs here.
fn machine() -> u64 {
    if cfg!(target_arch = "aarch64") { 183 } else { 62 }
}
