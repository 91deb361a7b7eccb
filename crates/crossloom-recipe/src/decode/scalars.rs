//! Strings, numbers, booleans, arrays and named choices.

use serde::de::DeserializeOwned;
use serde::de::value::StrDeserializer;

use super::fields::Cx;
use crate::diagnostic::{Finding, Span, Unhelped, any_of, did_you_mean};
use crate::schema::{
    AmpAttach, DataTokenizer, FusionOrder, GateAttention, GateGranularity, GateNorm, GatePool, GateShare,
    ImageUse, Join, KeptIn, LanguageFamily, Mask, Merging, Metric, MixtureLevel, MlpActivation, Phase,
    PictureFit, PositionResample, Precision, ProjectorKind, Resample, RowFormat, Sampling, Schedule, Split,
    StreamWord, TapNorm, VisionFamily, Warmup,
};
use crate::selection::matcher;
use crate::tree::{Node, Value};

/// Reads a value of one type; `None` after the reason has been reported.
pub(crate) trait Decode: Sized {
    fn decode(node: &Node, path: &str, cx: &mut Cx) -> Option<Self>;
}

/// Whether a text is a pattern of names; if not, that has been reported.
pub(super) fn is_pattern(text: &str, place: impl Into<Option<Span>>, cx: &mut Cx) -> bool {
    let Err(error) = matcher(text) else { return true };
    let message = format!("`{text}` is no pattern of names: {error}");
    let help = "`*` stands for any letters, `?` for one, `{a,b}` for either";
    cx.report(Finding::error(place, message).help(help));
    false
}

fn wrong_type(node: &Node, path: &str, expected: &str) -> Unhelped {
    Finding::error(node.span, format!("`{path}` must be {expected}, found {}", node.value.type_name()))
}

/// A hint for a number that was expected: the one in the quotes, or what one looks like.
fn without_quotes(node: &Node, expected: &str) -> String {
    match node.string().map(str::trim) {
        Some(text) if text.parse::<f64>().is_ok_and(f64::is_finite) => {
            format!("write `{text}` without quotes")
        }
        _ => format!("write {expected}"),
    }
}

impl Decode for String {
    fn decode(node: &Node, path: &str, cx: &mut Cx) -> Option<Self> {
        let text = node.string().map(str::to_owned);
        if text.is_none() {
            cx.report(wrong_type(node, path, "a string").help("put the value in quotes"));
        }
        text
    }
}

impl Decode for bool {
    fn decode(node: &Node, path: &str, cx: &mut Cx) -> Option<Self> {
        if let Value::Boolean(yes) = node.value {
            return Some(yes);
        }
        cx.report(
            wrong_type(node, path, "`true` or `false`").help("write `true` or `false`, without quotes"),
        );
        None
    }
}

impl Decode for u64 {
    fn decode(node: &Node, path: &str, cx: &mut Cx) -> Option<Self> {
        let finding = match &node.value {
            Value::Integer(number) => match Self::try_from(*number) {
                Ok(number) => return Some(number),
                Err(_) => Finding::error(node.span, format!("`{path}` must not be negative, found {number}"))
                    .help(format!("write `{}`", number.unsigned_abs())),
            },
            Value::Float(number) if number.fract() == 0.0 && (0.0..1e15).contains(number) => {
                wrong_type(node, path, "an integer").help(format!("write `{number:.0}`"))
            }
            _ => {
                wrong_type(node, path, "an integer").help(without_quotes(node, "a whole number, such as `4`"))
            }
        };
        cx.report(finding);
        None
    }
}

impl Decode for usize {
    fn decode(node: &Node, path: &str, cx: &mut Cx) -> Option<Self> {
        let number = u64::decode(node, path, cx)?;
        if let Ok(number) = Self::try_from(number) {
            return Some(number);
        }
        cx.report(
            Finding::error(node.span, format!("`{path}` is too large for this machine"))
                .help("write a smaller number"),
        );
        None
    }
}

impl Decode for f64 {
    fn decode(node: &Node, path: &str, cx: &mut Cx) -> Option<Self> {
        let finding = match &node.value {
            Value::Float(number) if number.is_finite() => return Some(*number),
            Value::Integer(number) => return Some(*number as Self),
            Value::Float(_) => Finding::error(node.span, format!("`{path}` must be a finite number"))
                .help("write a number that can be computed with, such as `0.5`"),
            _ => wrong_type(node, path, "a number").help(without_quotes(node, "a number, such as `0.5`")),
        };
        cx.report(finding);
        None
    }
}

impl<T: Decode> Decode for Vec<T> {
    fn decode(node: &Node, path: &str, cx: &mut Cx) -> Option<Self> {
        let Value::Array(items) = &node.value else {
            cx.report(wrong_type(node, path, "a list").help("put the value in square brackets"));
            return None;
        };
        let read: Vec<Option<T>> = items.iter().map(|item| T::decode(item, path, cx)).collect();
        read.into_iter().collect()
    }
}

impl<T: Decode, const N: usize> Decode for [T; N] {
    fn decode(node: &Node, path: &str, cx: &mut Cx) -> Option<Self> {
        let values = Vec::<T>::decode(node, path, cx)?;
        let found = values.len();
        let array = Self::try_from(values).ok();
        if array.is_none() {
            cx.report(
                Finding::error(node.span, format!("`{path}` needs {N} values, found {found}"))
                    .help(format!("write {N} values between the brackets, separated by commas")),
            );
        }
        array
    }
}

impl Decode for Warmup {
    fn decode(node: &Node, path: &str, cx: &mut Cx) -> Option<Self> {
        if matches!(node.value, Value::Integer(_)) {
            return u64::decode(node, path, cx).map(Self::Steps);
        }
        let fraction = f64::decode(node, path, cx)?;
        if (0.0..1.0).contains(&fraction) {
            return Some(Self::Fraction(fraction));
        }
        let message = format!("`{path}` as a fraction must be at least 0 and below 1, found {fraction}");
        cx.report(
            Finding::error(node.span, message).help("a number of steps is written without a decimal point"),
        );
        None
    }
}

/// The names that a type accepts, learned from the type's own serde implementation.
struct NotAChoice(&'static [&'static str]);

impl std::fmt::Debug for NotAChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "one of {:?}", self.0)
    }
}

impl std::fmt::Display for NotAChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, f)
    }
}

impl std::error::Error for NotAChoice {}

impl serde::de::Error for NotAChoice {
    fn custom<T: std::fmt::Display>(_: T) -> Self {
        Self(&[])
    }
    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self(expected)
    }
}

pub(super) fn choice<T: DeserializeOwned>(node: &Node, path: &str, cx: &mut Cx) -> Option<T> {
    let text = String::decode(node, path, cx)?;
    match T::deserialize(StrDeserializer::<NotAChoice>::new(&text)) {
        Ok(choice) => Some(choice),
        Err(NotAChoice(names)) => {
            let names = names.iter().copied();
            let help =
                did_you_mean(&text, names.clone()).unwrap_or_else(|| format!("write {}", any_of(names)));
            cx.report(Finding::error(node.span, format!("`{path}` cannot be `{text}`")).help(help));
            None
        }
    }
}

macro_rules! choices {
    ($($type:ty),* $(,)?) => {$(
        impl Decode for $type {
            fn decode(node: &Node, path: &str, cx: &mut Cx) -> Option<Self> {
                choice(node, path, cx)
            }
        }
    )*};
}
choices!(
    MlpActivation,
    AmpAttach,
    DataTokenizer,
    MixtureLevel,
    FusionOrder,
    GateAttention,
    GateGranularity,
    GatePool,
    GateNorm,
    GateShare,
    ImageUse,
    Join,
    KeptIn,
    LanguageFamily,
    Mask,
    Metric,
    Phase,
    PictureFit,
    PositionResample,
    ProjectorKind,
    Resample,
    RowFormat,
    Sampling,
    Schedule,
    Precision,
    Split,
    StreamWord,
    Merging,
    TapNorm,
    VisionFamily,
);
