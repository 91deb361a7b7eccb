//! Rows of any format, where pictures do not lie in a folder: in a tar, or in the row itself.

use serde::Deserialize;

use super::{Member, Record, llava, messages, questions};

/// A row of any format, told by its keys.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Row {
    Llava(llava::Row),
    Messages(messages::Row),
    Question(questions::Row),
}

impl Row {
    /// The record, whose pictures are those of a tar where there are any.
    pub(super) fn record(self, members: &[Member]) -> Result<Record, String> {
        match self {
            Self::Llava(row) => row.record(members),
            Self::Messages(row) => row.record(members),
            Self::Question(row) => row.record(members),
        }
    }
}
