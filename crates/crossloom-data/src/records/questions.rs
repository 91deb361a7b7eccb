//! Questions about pictures of a folder: `{"image": "a.jpg", "question": "…", "answer": "…"}`.

use std::fs::File;
use std::io::BufReader;

use serde::Deserialize;

use super::conversation::{Pictures, json, record};
use super::llava::named;
use super::{Format, Member, Place, Record, lines};
use crate::chat::Message;

/// Lines with `image` (one path, a list, or none), `question` and `answer`.
#[derive(Debug, Clone, Copy)]
pub struct Questions;

#[derive(Deserialize)]
pub(super) struct Row {
    #[serde(default, alias = "images")]
    image: Pictures,
    question: String,
    answer: String,
}

impl Row {
    /// The record, whose pictures are those of a tar where there are any.
    pub(super) fn record(self, members: &[Member]) -> Result<Record, String> {
        let pictures = named(self.image.into_vec(), members);
        // A placeholder in a question is letters here: pictures stand in front of it.
        let asked = Message::question(pictures.len(), &self.question);
        record(pictures, vec![asked, Message::text("assistant", &self.answer)])
    }
}

impl Format for Questions {
    fn name(&self) -> &'static str {
        "questions"
    }

    fn index(&self, file: &File, told: &mut dyn FnMut(Place)) -> Result<(), (u64, String)> {
        lines::index(BufReader::new(file), told)
    }

    fn parse(&self, row: &[u8], members: &[Member]) -> Result<Record, String> {
        json::<Row>(row)?.record(members)
    }
}
