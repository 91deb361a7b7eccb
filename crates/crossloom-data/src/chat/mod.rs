//! Conversations as a language model reads them: messages, a model's own chat template, and the places of pictures.
//!
//! [`Message`]s are what a data set or a person says; [`ChatTemplate`] writes them as the text that a model was trained with;
//! [`expand_images`] puts as many tokens in a picture's place as its features take. A template comes with a model and is not trusted:
//! it is run with bounds, see [`TemplateLimits`].

mod error;
mod expand;
mod format;
mod python;
mod template;
mod turns;

use serde::{Deserialize, Serialize};

pub use error::ChatError;
pub use expand::{Expanded, check_images, expand_images};
pub use format::ChatFormat;
pub use template::{ChatTemplate, TemplateLimits};
pub use turns::Turns;

/// What one side says in its turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// `system`, `user`, `assistant`, or what else a template knows.
    pub role: String,
    /// Texts and pictures, in their order.
    #[serde(deserialize_with = "parts")]
    pub content: Vec<Part>,
}

/// A piece of what is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Part {
    /// Words.
    Text {
        /// As they are.
        text: String,
    },
    /// A picture; which one is told by the order of a conversation's pictures.
    Image {},
}

impl Message {
    /// A message of words alone.
    pub fn text(role: &str, text: &str) -> Self {
        Self { role: role.to_owned(), content: vec![Part::Text { text: text.to_owned() }] }
    }

    /// A user's question behind so many pictures.
    pub fn question(pictures: usize, text: &str) -> Self {
        let mut asked = Self::text("user", text);
        asked.content.splice(0..0, (0..pictures).map(|_| Part::Image {}));
        asked
    }

    /// How many pictures it shows.
    pub fn pictures(&self) -> usize {
        self.content.iter().filter(|part| matches!(part, Part::Image {})).count()
    }
}

/// Content is a list of parts, or a text alone.
fn parts<'de, D: serde::Deserializer<'de>>(given: D) -> Result<Vec<Part>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Content {
        Text(String),
        Parts(Vec<Part>),
    }
    Ok(match Content::deserialize(given)? {
        Content::Text(text) => vec![Part::Text { text }],
        Content::Parts(parts) => parts,
    })
}

#[cfg(test)]
mod tests;
