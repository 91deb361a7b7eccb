//! Where a sample lies.

/// Where a sample lies in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its line from 1, or of a tar the number of its member.
    pub line: u64,
    /// The first byte of its row.
    pub start: u64,
    /// Bytes of its row.
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
