//! What can be wrong with a data set.

use std::path::PathBuf;

use crate::image::ImageError;
use crate::records::RecordError;

/// Why a data set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// A split has no picture or no question.
    #[error(
        "data set `{name}`: the {split} split is empty: it has {images} pictures and {examples} questions"
    )]
    Empty {
        /// The data set.
        name: String,
        /// `train` or `test`.
        split: &'static str,
        /// How many pictures it has.
        images: usize,
        /// How many questions it has.
        examples: usize,
    },
    /// Examples that make no sense; every one was looked at.
    #[error("data set `{name}`, {split} split: {}", first(problems))]
    Invalid {
        /// The data set.
        name: String,
        /// `train` or `test`.
        split: &'static str,
        /// One line per problem.
        problems: Vec<String>,
    },
    /// A file of the data set is missing or unreadable.
    #[error("data set `{name}`: `{}`: {source}", path.display())]
    Io {
        /// The data set.
        name: String,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file of questions is larger than the limit.
    #[error("data set `{name}`: `{}` has {bytes} bytes; the limit is {limit}", path.display())]
    FileTooLarge {
        /// The data set.
        name: String,
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The most bytes that are read.
        limit: u64,
    },
    /// A file of questions is not what it should be.
    #[error("data set `{name}`: `{}`: not a list of [question, answer, picture number]: {reason}", path.display())]
    Questions {
        /// The data set.
        name: String,
        /// The file.
        path: PathBuf,
        /// Line, column and reason.
        reason: String,
    },
    /// Pictures that cannot be decoded; every one was tried.
    #[error(
        "data set `{name}`: {} of {tried} pictures cannot be read: {}",
        errors.len(),
        first(&errors.iter().map(ToString::to_string).collect::<Vec<_>>())
    )]
    Images {
        /// The data set.
        name: String,
        /// How many pictures there were.
        tried: usize,
        /// One error per unreadable picture.
        errors: Vec<ImageError>,
    },
    /// Files of one's own that cannot be walked over.
    #[error(transparent)]
    Records(#[from] RecordError),
    /// Samples of one's own that cannot be learned from, more than may be left out; every one was looked at.
    #[error("{count} of {samples} {split} samples cannot be learned from, and {allowed} may be left out: {}", some(told, *count))]
    Samples {
        /// `train` or `test`.
        split: &'static str,
        /// How many samples there are.
        samples: usize,
        /// How many cannot be learned from.
        count: usize,
        /// How many may be left out.
        allowed: usize,
        /// The first reasons, each with file and line.
        told: Vec<String>,
    },
    /// An option out of range.
    #[error("{key} is {value}; it must be {rule}")]
    Option {
        /// The option.
        key: &'static str,
        /// As it was set.
        value: String,
        /// What it must be.
        rule: &'static str,
    },
    /// The pictures do not fit into memory.
    #[error("{count} pictures of {width}x{height} pixels need {bytes} bytes, which cannot be allocated")]
    Memory {
        /// How many pictures.
        count: usize,
        /// Pixels per row.
        width: u32,
        /// Rows.
        height: u32,
        /// How many bytes they need.
        bytes: u128,
    },
    /// A picture of another size than the store's.
    #[error("picture {index} has {found_width}x{found_height} pixels; the store holds {width}x{height}")]
    ImageSize {
        /// The number of the picture.
        index: usize,
        /// The store's pixels per row.
        width: u32,
        /// The store's rows.
        height: u32,
        /// The picture's pixels per row.
        found_width: u32,
        /// The picture's rows.
        found_height: u32,
    },
}

/// The first problems of a list that may be long, and how many more there are.
fn first(problems: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut shown = problems.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("; ");
    if problems.len() > SHOWN {
        shown += &format!("; and {} more", problems.len() - SHOWN);
    }
    shown
}

/// The problems of a list, and that there are more where there are.
fn some(problems: &[String], count: usize) -> String {
    let more = if count > problems.len() { "; and more" } else { "" };
    format!("{}{more}", problems.join("; "))
}
