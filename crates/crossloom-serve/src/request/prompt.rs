//! What a completion goes on from: texts, or tokens.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

use super::json::{AtMost, Text};

/// The most prompts of a completion.
const PROMPTS: usize = 64;
/// The most tokens of a prompt; what a model has room for is less.
const TOKENS: usize = 1 << 20;

/// A prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Written<'a> {
    /// That is cut into tokens by the model's tokenizer.
    Text(Text<'a>),
    /// Tokens of the model.
    Tokens(Vec<i32>),
}

/// All prompts of a completion, as OpenAI has them: a text, a list of texts, a list of tokens, or a list of such lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Prompts<'a>(pub(super) Vec<Written<'a>>);

/// The id of a token; whether the model has it is not known here.
struct TokenId(i32);

impl<'de> Deserialize<'de> for TokenId {
    fn deserialize<D: Deserializer<'de>>(given: D) -> Result<Self, D::Error> {
        let id = i64::deserialize(given)?;
        token(id)
    }
}

fn token<E: Error>(id: i64) -> Result<TokenId, E> {
    let known = i32::try_from(id).ok().filter(|&id| id >= 0);
    known.map(TokenId).ok_or_else(|| E::custom(format_args!("{id} is no token of any vocabulary")))
}

/// An element of a list.
enum Element<'a> {
    Token(TokenId),
    Prompt(Written<'a>),
}

struct ElementVisitor;

impl<'de> Visitor<'de> for ElementVisitor {
    type Value = Element<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a token, or a list of tokens")
    }

    fn visit_u64<E: Error>(self, id: u64) -> Result<Element<'de>, E> {
        token(i64::try_from(id).unwrap_or(i64::MAX)).map(Element::Token)
    }

    fn visit_i64<E: Error>(self, id: i64) -> Result<Element<'de>, E> {
        token(id).map(Element::Token)
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Element<'de>, E> {
        Ok(Element::Prompt(Written::Text(Text(Cow::Borrowed(text)))))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Element<'de>, E> {
        Ok(Element::Prompt(Written::Text(Text(Cow::Owned(text.to_owned())))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<Element<'de>, A::Error> {
        let AtMost(tokens) =
            AtMost::<TokenId, TOKENS>::deserialize(serde::de::value::SeqAccessDeserializer::new(elements))?;
        Ok(Element::Prompt(Written::Tokens(tokens.into_iter().map(|TokenId(id)| id).collect())))
    }
}

impl<'de> Deserialize<'de> for Element<'de> {
    fn deserialize<D: Deserializer<'de>>(given: D) -> Result<Self, D::Error> {
        given.deserialize_any(ElementVisitor)
    }
}

struct PromptsVisitor;

impl<'de> Visitor<'de> for PromptsVisitor {
    type Value = Prompts<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a text, a list of tokens, or a list of at most {PROMPTS} of either")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Prompts(vec![Written::Text(Text(Cow::Borrowed(text)))]))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Prompts(vec![Written::Text(Text(Cow::Owned(text.to_owned())))]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let (mut prompts, mut tokens) = (Vec::new(), Vec::new());
        while let Some(element) = elements.next_element()? {
            match element {
                Element::Token(TokenId(id)) => tokens.push(id),
                Element::Prompt(prompt) => prompts.push(prompt),
            }
            if !prompts.is_empty() && !tokens.is_empty() {
                return Err(A::Error::custom(
                    "tokens beside other prompts; a list of tokens has nothing else",
                ));
            }
            for (given, most) in [(prompts.len(), PROMPTS), (tokens.len(), TOKENS)] {
                if given > most {
                    return Err(A::Error::custom(format_args!(
                        "more than {most} elements, which is the limit"
                    )));
                }
            }
        }
        if !tokens.is_empty() {
            prompts.push(Written::Tokens(tokens));
        }
        Ok(Prompts(prompts))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Prompts<'a> {
    fn deserialize<D: Deserializer<'de>>(given: D) -> Result<Self, D::Error> {
        given.deserialize_any(PromptsVisitor)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::json::read;
    use super::*;
    use crate::error::Problem;

    #[derive(Debug, Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        prompt: Prompts<'a>,
    }

    fn prompts(value: &str) -> Result<Vec<String>, Problem> {
        let body = format!(r#"{{"prompt":{value}}}"#);
        let read = read::<Body<'_>>(body.as_bytes())?;
        let told = read.prompt.0.iter().map(|prompt| match prompt {
            Written::Text(text) => text.to_string(),
            Written::Tokens(ids) => format!("{ids:?}"),
        });
        Ok(told.collect())
    }

    #[test]
    fn all_four_forms_are_read() {
        assert_eq!(prompts(r#""a \n b""#).unwrap(), ["a \n b"]);
        assert_eq!(prompts(r#"["a","b"]"#).unwrap(), ["a", "b"]);
        assert_eq!(prompts("[1,2,3]").unwrap(), ["[1, 2, 3]"]);
        assert_eq!(prompts("[[1,2],[],[3]]").unwrap(), ["[1, 2]", "[]", "[3]"]);
        assert_eq!(prompts("[]").unwrap(), [""; 0]);
    }

    #[test]
    fn what_is_no_prompt_names_its_place() {
        for (value, param, what) in [
            ("[1,\"a\"]", "prompt", "beside other prompts"),
            ("[\"a\",1]", "prompt", "beside other prompts"),
            ("[-1]", "prompt[0]", "-1 is no token"),
            ("[[0,1,2147483648]]", "prompt[0][2]", "is no token"),
            ("[18446744073709551615]", "prompt[0]", "is no token"),
            ("[1.5]", "prompt[0]", "a text, a token"),
            ("[[\"a\"]]", "prompt[0][0]", "invalid type"),
            ("[[[1]]]", "prompt[0][0]", "invalid type"),
            ("{}", "prompt", "a text, a list of tokens"),
            ("7", "prompt", "a text, a list of tokens"),
        ] {
            let problem = prompts(value).unwrap_err();
            assert!(problem.param == param && problem.message.contains(what), "{value}: {problem:?}");
        }
        let many = format!("[{}]", vec!["\"a\""; PROMPTS + 1].join(","));
        assert!(prompts(&many).unwrap_err().message.contains("more than 64"));
        let long = format!("[[{}]]", vec!["1"; TOKENS + 1].join(","));
        assert!(prompts(&long).unwrap_err().message.contains("more than 1048576"));
    }
}
