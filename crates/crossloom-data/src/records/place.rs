//! Where a sample lies.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

/// Where a sample lies in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its number from 1, in the unit of its format: a line, of a tar a member, of Parquet a row.
    pub line: u64,
    /// The first byte of its row, where it lies in one piece.
    pub start: u64,
    /// Bytes of its row, where it lies in one piece.
    pub len: u32,
    /// The pictures that lie beside it in a tar, in the order of the tar.
    pub members: Box<[Member]>,
}

/// A picture in a tar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name there.
    pub name: Box<str>,
    /// Its first byte.
    pub start: u64,
    /// Its bytes.
    pub len: u32,
}

/// Some bytes of a file.
pub(super) fn bytes(path: &Path, start: u64, len: u32) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = vec![0; len as usize];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}
