//! Samples in files of one's own: conversations about pictures, one row each, read one at a time.
//!
//! A [`Format`] says where in a file samples lie and what a row means; [`Records`] is all samples of some files: an index of places in
//! memory, everything else on disk until it is asked for. What a row says is checked when it is read, and an error names file and line.
//!
//! | format | a row |
//! |---|---|
//! | [`Llava`] | an element of a JSON array, or a line: `image`, `conversations` (LLaVA, ShareGPT) |
//! | [`Messages`] | a line: `messages` as of chat interfaces, `images` |
//! | [`Questions`] | a line: `image`, `question`, `answer` |
//! | [`WebDataset`] | members of a tar that share a name: `.json` (a row of any other format) and pictures |
//! | `Parquet` | a row of any other format in columns, with the bytes of its pictures (feature `parquet`) |
//!
//! Files are not trusted: a path or a link that leads out of the folder of pictures, a row that is too long or too deep, and a picture that
//! is too large are errors, before anything is read that they lead to.

mod any;
mod array;
mod conversation;
mod error;
mod inspect;
mod lines;
mod llava;
mod messages;
#[cfg(feature = "parquet")]
mod parquet;
mod path;
mod place;
mod questions;
mod set;
mod spread;
mod webdataset;

use std::fs::File;
use std::path::Path;

pub use error::RecordError;
pub use inspect::{Inspection, Measure, Problem, Tokens};
pub use llava::Llava;
pub use messages::Messages;
#[cfg(feature = "parquet")]
pub use parquet::Parquet;
pub use place::{Member, Place};
pub use questions::Questions;
pub use set::Records;
pub use spread::Spread;
pub use webdataset::WebDataset;

use crate::chat::Message;

/// The longest row that is read, in bytes.
pub const MAX_ROW_BYTES: usize = 4 << 20;

/// One sample: a conversation and the pictures that it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The pictures in the order in which the conversation shows them: paths in the folder of pictures, or names of members of a tar.
    pub pictures: Vec<String>,
    /// What is said: a system's message or none, then questions and answers in turn.
    pub messages: Vec<Message>,
    /// The pictures as they are encoded, where they lie in the row itself: one for each of `pictures`, which then are but names. Otherwise none.
    pub embedded: Vec<Vec<u8>>,
}

/// A way in which files hold samples.
pub trait Format: std::fmt::Debug + Send + Sync {
    /// The name that a person chooses it by.
    fn name(&self) -> &'static str;

    /// What samples are counted in.
    fn unit(&self) -> &'static str {
        "line"
    }

    /// Whether pictures may lie in the files themselves: then a name says which picture it is in its file alone.
    fn holds_pictures(&self) -> bool {
        false
    }

    /// Walks once over a file and tells the place of every sample. Memory does not depend on the file.
    ///
    /// # Errors
    /// What keeps the rest of the file from being found, with the place (in the format's unit) that it was met at.
    fn index(&self, file: &File, told: &mut dyn FnMut(Place)) -> Result<(), (u64, String)>;

    /// What a row says. `members` are the pictures that lie beside it in a tar.
    ///
    /// # Errors
    /// All that is wrong with it, in one text.
    fn parse(&self, row: &[u8], members: &[Member]) -> Result<Record, String>;

    /// Reads the row at a place of a file.
    ///
    /// # Errors
    /// A file that cannot be read any more; a row that says nothing that can be learned from. Both name the place.
    fn read(&self, path: &Path, place: &Place) -> Result<Record, RecordError> {
        let row = place::bytes(path, place.start, place.len).map_err(RecordError::io(path))?;
        self.parse(&row, &place.members).map_err(|problem| RecordError::row(path, self, place, problem))
    }
}

/// All formats, in the order in which they are listed.
pub fn formats() -> Vec<Box<dyn Format>> {
    vec![
        Box::new(Llava),
        Box::new(Messages),
        #[cfg(feature = "parquet")]
        Box::<Parquet>::default(),
        Box::new(Questions),
        Box::new(WebDataset),
    ]
}

/// The format of a name.
///
/// # Errors
/// There is none: what is expected.
pub fn format(name: &str) -> Result<Box<dyn Format>, &'static str> {
    let expected = match name {
        "parquet" => "another format: this build does not read Parquet, one with `--features parquet` does",
        _ => "llava, messages, parquet, questions or webdataset",
    };
    formats().into_iter().find(|format| format.name() == name).ok_or(expected)
}

/// What holds of any bytes whatever. Taken for a row, they are refused with a reason, or are a record in which every picture has one place and
/// something is answered. Taken for a file, every row that is found lies in it, behind the one before it. Fuzz targets and tests call it.
pub fn sound(bytes: &[u8]) -> bool {
    is_sound_row(bytes) && is_sound_file(bytes)
}

fn is_sound_file(bytes: &[u8]) -> bool {
    type Walk = fn(&[u8], &mut dyn FnMut(Place)) -> Result<(), (u64, String)>;
    let walks: [Walk; 2] = [|bytes, told| lines::index(bytes, told), |bytes, told| array::index(bytes, told)];
    walks.iter().all(|walk| {
        let (mut end, mut within) = (0, true);
        let walked = walk(bytes, &mut |place| {
            within &= place.line > 0 && place.len > 0 && place.start >= end;
            end = place.start + u64::from(place.len);
        });
        let refused = walked.err().is_none_or(|(line, reason)| line > 0 && !reason.is_empty());
        refused && within && end <= bytes.len() as u64
    })
}

fn is_sound_row(row: &[u8]) -> bool {
    formats().iter().all(|format| match format.parse(row, &[]) {
        Err(reason) => !reason.is_empty(),
        Ok(Record { pictures, messages, .. }) => {
            let shown: usize = messages.iter().map(Message::pictures).sum();
            shown == pictures.len() && messages.iter().any(|message| message.role == "assistant")
        }
    })
}

#[cfg(test)]
mod tests;
