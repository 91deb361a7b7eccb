//! Messages of chat interfaces: `{"messages": [{"role": "user", "content": "…"}, …], "images": ["a.jpg"]}`.

use std::fs::File;
use std::io::BufReader;

use serde::Deserialize;

use super::conversation::{Pictures, json, parts, record, role};
use super::llava::named;
use super::{Format, Member, Place, Record, lines};
use crate::chat::{Message, Part};

/// Lines with `messages`, whose content is a text with placeholders or a list of parts, and `images`, where parts do not name their own.
#[derive(Debug, Clone, Copy)]
pub struct Messages;

#[derive(Deserialize)]
pub(super) struct Row {
    messages: Vec<Said>,
    #[serde(default, alias = "image")]
    images: Pictures,
}

#[derive(Deserialize)]
struct Said {
    role: String,
    content: Content,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Given>),
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Given {
    Text {
        text: String,
    },
    Image {
        #[serde(default, alias = "path")]
        image: Option<String>,
    },
    ImageUrl {
        image_url: Url,
    },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Url {
    Path(String),
    Object { url: String },
}

impl Row {
    /// The record, whose pictures are those of a tar where there are any.
    pub(super) fn record(self, members: &[Member]) -> Result<Record, String> {
        let (mut own, mut messages) = (Vec::new(), Vec::new());
        for Said { role: speaker, content } in self.messages {
            let content = match content {
                Content::Text(text) => parts(&text),
                Content::Parts(given) => given.into_iter().map(|part| shown(part, &mut own)).collect(),
            };
            messages.push(Message { role: role(&speaker)?.to_owned(), content });
        }
        let listed = self.images.into_vec();
        if !own.is_empty() && !listed.is_empty() {
            return Err("pictures are named by parts and by `images`: one of the two is expected".to_owned());
        }
        let pictures = if own.is_empty() { listed } else { own };
        record(named(pictures, members), messages)
    }
}

fn shown(part: Given, own: &mut Vec<String>) -> Part {
    match part {
        Given::Text { text } => return Part::Text { text },
        Given::Image { image } => own.extend(image),
        Given::ImageUrl { image_url: Url::Path(path) | Url::Object { url: path } } => own.push(path),
    }
    Part::Image {}
}

impl Format for Messages {
    fn name(&self) -> &'static str {
        "messages"
    }

    fn index(&self, file: &File, told: &mut dyn FnMut(Place)) -> Result<(), (u64, String)> {
        lines::index(BufReader::new(file), told)
    }

    fn parse(&self, row: &[u8], members: &[Member]) -> Result<Record, String> {
        json::<Row>(row)?.record(members)
    }
}
