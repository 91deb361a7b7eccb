//! What a fetch tells while it runs.

use std::fmt;
use std::path::PathBuf;

/// One step of [`AssetCache::ensure`](super::AssetCache::ensure); printed, it is a line for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AssetEvent {
    /// Another process works on the same package.
    Waiting,
    /// The unpacked files are compared with their hashes.
    Checking,
    /// Something in the cache is not what was unpacked; the package is fetched again.
    Corrupted {
        /// What is wrong.
        problems: Vec<String>,
    },
    /// An archive that a person put into the cache is used.
    LocalArchive {
        /// The archive.
        path: PathBuf,
    },
    /// The package client is running.
    Downloading {
        /// Bytes that arrived, as far as can be seen.
        done: u64,
        /// Bytes of the archive.
        total: u64,
    },
    /// The archive has the right hash and is being unpacked.
    Unpacking {
        /// Files written.
        done: usize,
        /// Files of the archive.
        total: usize,
    },
    /// The package is there and checked.
    Ready {
        /// The folder of its files.
        path: PathBuf,
    },
}

impl fmt::Display for AssetEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting => write!(f, "waiting for another process that fetches the same package"),
            Self::Checking => write!(f, "checking the cached files"),
            Self::Corrupted { problems } => {
                write!(f, "the cached copy is damaged and is fetched again: ")?;
                match problems.as_slice() {
                    [] => write!(f, "unknown damage"),
                    [only] => write!(f, "{only}"),
                    [first, rest @ ..] => write!(f, "{first} (and {} more)", rest.len()),
                }
            }
            Self::LocalArchive { path } => write!(f, "using {}", path.display()),
            Self::Downloading { done, total } => write!(f, "downloading: {done} of {total} bytes"),
            Self::Unpacking { done, total } => write!(f, "unpacking: {done} of {total} files"),
            Self::Ready { path } => write!(f, "ready in {}", path.display()),
        }
    }
}
