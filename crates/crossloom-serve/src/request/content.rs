//! The messages of a conversation, in OpenAI's form.

use std::fmt;

use crossloom_data::chat::{Message, Part};
use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor, value};

use super::json::{AtMost, Text};
use super::picture::PictureUrl;
use crate::error::Problem;

/// The most messages of a conversation.
const MESSAGES: usize = 1024;

/// The most parts of a message.
const PARTS: usize = 256;

/// The conversation of a request.
#[derive(Debug, Deserialize)]
pub(crate) struct Conversation<'a> {
    #[serde(borrow, default)]
    messages: AtMost<Said<'a>, MESSAGES>,
}

#[derive(Debug, Deserialize)]
struct Said<'a> {
    #[serde(borrow)]
    role: Text<'a>,
    content: Option<Content<'a>>,
}

#[derive(Debug)]
enum Content<'a> {
    Text(Text<'a>),
    Parts(Vec<Piece<'a>>),
}

/// A part of any kind: the fields of those that are known. A list of alternatives would have to be held to be told apart.
#[derive(Debug, Deserialize)]
struct Piece<'a> {
    #[serde(borrow)]
    r#type: Text<'a>,
    text: Option<Text<'a>>,
    image_url: Option<Address<'a>>,
}

#[derive(Debug, Deserialize)]
struct Address<'a> {
    #[serde(borrow)]
    url: Text<'a>,
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, or a list of parts")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Content::Text(Text(text.into())))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Content::Text(Text(text.to_owned().into())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<Self::Value, A::Error> {
        let parts = AtMost::<Piece<'de>, PARTS>::deserialize(value::SeqAccessDeserializer::new(elements))?;
        Ok(Content::Parts(parts.0))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(given: D) -> Result<Self, D::Error> {
        given.deserialize_any(ContentVisitor)
    }
}

impl<'a> Conversation<'a> {
    /// The messages as a chat template reads them, and the places of their pictures, in their order. What is wrong is added to
    /// `problems`.
    pub(crate) fn taken(self, problems: &mut Vec<Problem>) -> (Vec<Message>, Vec<PictureUrl<'a>>) {
        let mut pictures = Vec::new();
        if self.messages.0.is_empty() {
            problems.push(Problem::new("messages", "missing or empty; there is nothing to answer"));
        }
        let messages = (self.messages.0.into_iter().enumerate())
            .map(|(i, said)| message(said, &format!("messages[{i}]"), &mut pictures, problems))
            .collect();
        (messages, pictures)
    }
}

fn message<'a>(
    said: Said<'a>,
    at: &str,
    pictures: &mut Vec<PictureUrl<'a>>,
    problems: &mut Vec<Problem>,
) -> Message {
    let role = match &*said.role {
        // OpenAI's newer name.
        "developer" => "system",
        role @ ("system" | "user" | "assistant") => role,
        role => {
            let known = "`system`, `developer`, `user` and `assistant` are known";
            problems.push(Problem::new(format!("{at}.role"), format!("{role:?} is no role here; {known}")));
            ""
        }
    };
    let content = match said.content {
        None => {
            problems
                .push(Problem::new(format!("{at}.content"), "missing; a text or a list of parts is needed"));
            Vec::new()
        }
        Some(Content::Text(text)) => vec![Part::Text { text: text.0.into_owned() }],
        Some(Content::Parts(parts)) => (parts.into_iter().enumerate())
            .filter_map(|(i, piece)| part(piece, &format!("{at}.content[{i}]"), pictures, problems))
            .collect(),
    };
    Message { role: role.to_owned(), content }
}

fn part<'a>(
    piece: Piece<'a>,
    at: &str,
    pictures: &mut Vec<PictureUrl<'a>>,
    problems: &mut Vec<Problem>,
) -> Option<Part> {
    match (&*piece.r#type, piece.text, piece.image_url) {
        ("text", Some(text), _) => Some(Part::Text { text: text.0.into_owned() }),
        ("text", None, _) => {
            problems.push(Problem::new(format!("{at}.text"), "missing"));
            None
        }
        ("image_url", _, Some(Address { url })) => {
            pictures.push(PictureUrl { param: format!("{at}.image_url.url"), url });
            Some(Part::Image {})
        }
        ("image_url", _, None) => {
            problems
                .push(Problem::new(format!("{at}.image_url"), "missing; `{\"url\": \"data:…\"}` is needed"));
            None
        }
        (kind, _, _) => {
            let known = "`text` and `image_url` are known";
            problems.push(Problem::new(
                format!("{at}.type"),
                format!("{kind:?} is no kind of part here; {known}"),
            ));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::json::read;
    use super::*;

    fn taken(body: &str) -> (Vec<Message>, Vec<String>, Vec<String>) {
        let mut problems = Vec::new();
        let (messages, pictures) = read::<Conversation<'_>>(body.as_bytes()).unwrap().taken(&mut problems);
        let pictures = pictures.iter().map(|picture| picture.url.to_string()).collect();
        (messages, pictures, problems.into_iter().map(|problem| problem.param).collect())
    }

    #[test]
    fn content_is_a_text_or_a_list_of_parts() {
        let (messages, pictures, problems) = taken(
            r#"{"messages":[{"role":"developer","content":"short"},{"role":"user","name":"x","content":[
                {"type":"image_url","image_url":{"url":"data:a","detail":"low"}},{"type":"text","text":"what?"},
                {"type":"image_url","image_url":{"url":"data:b"}}]}]}"#,
        );
        let (text, image) = (|text: &str| Part::Text { text: text.to_owned() }, Part::Image {});
        let asked = Message { role: "user".to_owned(), content: vec![image.clone(), text("what?"), image] };
        assert_eq!(messages, [Message::text("system", "short"), asked]);
        assert_eq!(pictures, ["data:a", "data:b"]);
        assert_eq!(problems, [""; 0]);
    }

    #[test]
    fn all_that_is_wrong_is_told() {
        let (_, _, problems) = taken(
            r#"{"messages":[{"role":"tool","content":"a"},{"role":"assistant","content":null},{"role":"user","content":[
                {"type":"input_audio"},{"type":"text"},{"type":"image_url"}]}]}"#,
        );
        let expected = [
            "messages[0].role",
            "messages[1].content",
            "messages[2].content[0].type",
            "messages[2].content[1].text",
            "messages[2].content[2].image_url",
        ];
        assert_eq!(problems, expected);
        assert_eq!(taken(r#"{"messages":[]}"#).2, ["messages"]);
        assert_eq!(taken("{}").2, ["messages"]);
    }

    #[test]
    fn a_mistake_deep_in_a_conversation_names_its_place() {
        let wrong = |body: &str| read::<Conversation<'_>>(body.as_bytes()).unwrap_err();
        let body = r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":7}}]}]}"#;
        let told = wrong(body);
        assert!(told.param.starts_with("messages[0].content"), "{told:?}");
        let many =
            format!(r#"{{"messages":[{}]}}"#, vec![r#"{"role":"user","content":"a"}"#; 10_000].join(","));
        let told = wrong(&many);
        assert!(told.param.starts_with("messages") && told.message.contains("more than 1024"), "{told:?}");
    }
}
