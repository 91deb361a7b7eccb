//! How a model writes conversations, as data that a run can keep.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ChatError, ChatTemplate, TemplateLimits};

/// A chat template and what it is given beside the messages: with a tokenizer, all that turns a conversation into tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatFormat {
    /// The template, in Jinja.
    pub template: String,
    /// The texts of special tokens, by the names that templates have for them, such as `bos_token`.
    #[serde(default)]
    pub tokens: BTreeMap<String, String>,
    /// The text of the token that stands for a picture; none where the model sees none by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_token: Option<String>,
}

impl ChatFormat {
    /// The template, ready to write.
    ///
    /// # Errors
    /// It is no Jinja, or too long.
    pub fn open(&self) -> Result<ChatTemplate, ChatError> {
        let (tokens, image) = (self.tokens.clone(), self.image_token.clone());
        ChatTemplate::new(&self.template, tokens, image, TemplateLimits::default())
    }
}
