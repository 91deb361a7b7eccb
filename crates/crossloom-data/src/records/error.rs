//! What can be wrong with samples of one's own.

use std::path::{Path, PathBuf};

use super::{Format, Place};
use crate::image::ImageError;

/// Why samples cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A file cannot be opened or read.
    #[error("`{}`: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A row that says nothing that can be used, or a file that cannot be walked over beyond it.
    #[error("`{}`, {what} {line}: {problem}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// The unit of its format: `line`, `member` or `row`.
        what: &'static str,
        /// Its number, from 1.
        line: u64,
        /// What is wrong.
        problem: String,
    },
    /// A picture that a row names and that cannot be shown.
    #[error("`{}`, {what} {line}: {source}", path.display())]
    Picture {
        /// The file of the row.
        path: PathBuf,
        /// The unit of its format: `line`, `member` or `row`.
        what: &'static str,
        /// The row's number, from 1.
        line: u64,
        /// What is wrong with the picture, which it names.
        source: ImageError,
    },
    /// There is nothing to read.
    #[error("there is no sample in {files}: a file of rows is expected")]
    Empty {
        /// The files.
        files: String,
    },
    /// There is no sample of that number.
    #[error("there is no sample {number}; there are {samples}")]
    NoSuchSample {
        /// The number asked for, from 0.
        number: usize,
        /// How many there are.
        samples: usize,
    },
}

impl RecordError {
    /// For a file that the system refused.
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<'_> {
        |source| Self::Io { path: path.to_owned(), source }
    }

    /// For a row of which something is wrong.
    pub(super) fn row(path: &Path, format: &(impl Format + ?Sized), place: &Place, problem: String) -> Self {
        Self::Row { path: path.to_owned(), what: format.unit(), line: place.line, problem }
    }
}
