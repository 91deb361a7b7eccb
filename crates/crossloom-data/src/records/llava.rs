//! LLaVA's and ShareGPT's form: `{"image": "a.jpg", "conversations": [{"from": "human", "value": "<image>\n…"}, …]}`.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _};

use serde::Deserialize;

use super::conversation::{Pictures, json, parts, record, role};
use super::{Format, Member, Place, Record, array, lines};
use crate::chat::Message;

/// Elements of a JSON array, or lines, with `image` (one path, a list, or none) and `conversations`.
#[derive(Debug, Clone, Copy)]
pub struct Llava;

#[derive(Deserialize)]
pub(super) struct Row {
    #[serde(default, alias = "images")]
    image: Pictures,
    conversations: Vec<Turn>,
}

#[derive(Deserialize)]
struct Turn {
    from: String,
    value: String,
}

impl Row {
    /// The record, whose pictures are those of a tar where there are any.
    pub(super) fn record(self, members: &[Member]) -> Result<Record, String> {
        let turns = self.conversations.into_iter().map(|Turn { from, value }| {
            Ok(Message { role: role(&from)?.to_owned(), content: parts(&value) })
        });
        let messages = turns.collect::<Result<_, String>>()?;
        record(named(self.image.into_vec(), members), messages)
    }
}

/// The pictures of a row: those that lie beside it in a tar, or those that it names.
pub(super) fn named(of_row: Vec<String>, members: &[Member]) -> Vec<String> {
    if members.is_empty() { of_row } else { members.iter().map(|member| member.name.to_string()).collect() }
}

impl Format for Llava {
    fn name(&self) -> &'static str {
        "llava"
    }

    fn index(&self, mut file: &File, told: &mut dyn FnMut(Place)) -> Result<(), (u64, String)> {
        let failed = |error: std::io::Error| (1, error.to_string());
        let is_array = {
            let mut reader = BufReader::new(file);
            let head = reader.fill_buf().map_err(failed)?;
            head.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[')
        };
        file.rewind().map_err(failed)?;
        let reader = BufReader::new(file);
        if is_array { array::index(reader, told) } else { lines::index(reader, told) }
    }

    fn parse(&self, row: &[u8], members: &[Member]) -> Result<Record, String> {
        json::<Row>(row)?.record(members)
    }
}
