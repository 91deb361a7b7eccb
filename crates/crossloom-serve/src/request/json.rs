//! JSON as it is read here: texts stay where they lie in the body, lists have a longest length, and what is wrong names its field.
//!
//! Nothing is read as a tree of values: a body of a few megabytes can be millions of them. Fields that nobody asks for are passed
//! over.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::error::Problem;

/// Reads a body; what is not asked for is passed over.
///
/// # Errors
/// No JSON, nested too deep, or a field of another type.
pub(crate) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    // A list would be taken for the fields in their order.
    if body.trim_ascii_start().first().is_some_and(|&first| first != b'{') {
        return Err(Problem::new("", "the body cannot be read as JSON: an object with fields is needed"));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        let message = match inner.classify() {
            serde_json::error::Category::Data => inner.to_string(),
            _ => format!("the body cannot be read as JSON: {inner}"),
        };
        // The path of the body as a whole is a dot.
        Problem::new(if path == "." { "" } else { path.as_str() }, message)
    })?;
    json.end().map_err(|error| Problem::new("", format!("the body is not one JSON document: {error}")))?;
    Ok(value)
}

/// A text, where it lies in the body if it has no escapes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(given: D) -> Result<Self, D::Error> {
        given.deserialize_str(TextVisitor)
    }
}

/// A list of at most `N`: what follows is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AtMost<T, const N: usize>(pub(crate) Vec<T>);

impl<T, const N: usize> Default for AtMost<T, N> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

struct AtMostVisitor<T, const N: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for AtMostVisitor<T, N> {
    type Value = AtMost<T, N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {N}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while list.len() < N {
            let Some(element) = elements.next_element()? else { return Ok(AtMost(list)) };
            list.push(element);
        }
        match elements.next_element::<IgnoredAny>()? {
            None => Ok(AtMost(list)),
            Some(_) => Err(A::Error::custom(format_args!("more than {N} elements, which is the limit"))),
        }
    }
}

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for AtMost<T, N> {
    fn deserialize<D: Deserializer<'de>>(given: D) -> Result<Self, D::Error> {
        given.deserialize_seq(AtMostVisitor(PhantomData))
    }
}

/// One or several, as OpenAI has `stop` and `prompt`: an element alone is a list of one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OneOrMore<'a, const N: usize>(pub(crate) Vec<Text<'a>>);

struct OneOrMoreVisitor<const N: usize>;

impl<'de, const N: usize> Visitor<'de> for OneOrMoreVisitor<N> {
    type Value = OneOrMore<'de, N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a text, or a list of at most {N} texts")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(OneOrMore(vec![TextVisitor.visit_borrowed_str(text)?]))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(OneOrMore(vec![TextVisitor.visit_str(text)?]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<Self::Value, A::Error> {
        let AtMost(list) = AtMostVisitor::<Text<'de>, N>(PhantomData).visit_seq(elements)?;
        Ok(OneOrMore(list))
    }
}

impl<'de: 'a, 'a, const N: usize> Deserialize<'de> for OneOrMore<'a, N> {
    fn deserialize<D: Deserializer<'de>>(given: D) -> Result<Self, D::Error> {
        given.deserialize_any(OneOrMoreVisitor::<N>)
    }
}

/// Whether a field that nothing here can honour asks for something: `null`, `false`, zero and what is empty do not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Asks(pub(crate) bool);

struct AsksVisitor;

impl<'de> Visitor<'de> for AsksVisitor {
    type Value = Asks;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_unit<E: Error>(self) -> Result<Asks, E> {
        Ok(Asks(false))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Asks, E> {
        Ok(Asks(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Asks, E> {
        Ok(Asks(value != 0))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Asks, E> {
        Ok(Asks(value != 0))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Asks, E> {
        Ok(Asks(value != 0.0))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Asks, E> {
        Ok(Asks(!text.is_empty()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Asks, A::Error> {
        let mut asks = false;
        while elements.next_element::<IgnoredAny>()?.is_some() {
            asks = true;
        }
        Ok(Asks(asks))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Asks, A::Error> {
        let mut asks = false;
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            asks = true;
        }
        Ok(Asks(asks))
    }
}

impl<'de> Deserialize<'de> for Asks {
    fn deserialize<D: Deserializer<'de>>(given: D) -> Result<Self, D::Error> {
        given.deserialize_any(AsksVisitor)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        texts: Option<AtMost<Text<'a>, 3>>,
        stop: Option<OneOrMore<'a, 2>>,
        #[serde(default)]
        tools: Asks,
    }

    fn problem(body: &str) -> Problem {
        read::<Body<'_>>(body.as_bytes()).unwrap_err()
    }

    #[test]
    fn a_text_without_escapes_is_not_copied() {
        let body = br#"{"texts":["plain","with \"escapes\""],"other":[{}]}"#;
        let read: Body<'_> = read(body).unwrap();
        assert_eq!(read.stop, None);
        let texts = read.texts.unwrap().0;
        assert!(matches!(texts[0].0, Cow::Borrowed("plain")));
        assert_eq!(&*texts[1], "with \"escapes\"");
    }

    #[test]
    fn what_is_wrong_names_its_field() {
        assert_eq!(problem(r#"{"texts":["a",1]}"#).param, "texts[1]");
        let long = problem(r#"{"stop":["a","b","c"]}"#);
        assert!(long.param == "stop" && long.message.contains("more than 2 elements"), "{long:?}");
        let other = problem(r#"{"stop":{}}"#);
        assert!(other.param == "stop" && other.message.contains("a text, or a list"), "{other:?}");
        for broken in ["{", "", "{}{}", r#"{"x":NaN}"#, "\u{feff}{}", &"[".repeat(100_000)] {
            let told = problem(broken);
            assert!(told.message.contains("JSON"), "{broken}: {told:?}");
        }
        assert_eq!(problem(r#"{"stop":NaN}"#).param, "stop");
        // What is passed over is passed over without recursion, however deep.
        let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert!(read::<Body<'_>>(deep.as_bytes()).is_ok());
    }

    #[test]
    fn a_field_asks_for_something_unless_it_is_empty() {
        let asks =
            |value: &str| read::<Body<'_>>(format!(r#"{{"tools":{value}}}"#).as_bytes()).unwrap().tools.0;
        for nothing in ["null", "[]", "{}", "false", "0", "\"\""] {
            assert!(!asks(nothing), "{nothing}");
        }
        for something in ["[null]", "{\"a\":1}", "true", "-1", "0.5", "\"auto\""] {
            assert!(asks(something), "{something}");
        }
    }
}
