//! Names of layers: `embed`, `block.7`, `block.last`, `post_norm`; `input`, `before layer.4`, `attention layer.4`, `inside layer.4`,
//! `after layer.0`.
//!
//! Vision blocks count from 1, so that `block.7` is the state *after* seven blocks and `embed` the state after none.
//! Decoder layers count from 0, as in every checkpoint's parameter names.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Tap;

/// A state of the vision encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VisionAddress {
    /// The embeddings that enter block 1 (after `pre_norm`, where there is one).
    Embed,
    /// The output of block i, from 1 to the encoder's depth.
    Block(usize),
    /// The last state after `post_norm`.
    PostNorm,
}

/// A place in the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PointAddress {
    /// The input embeddings, where the projected image tokens are put in.
    Input,
    /// The hidden state that enters decoder layer i, from 0.
    Before(usize),
    /// What the attention of decoder layer i reads, from 0: the hidden state behind the layer's first norm. The layer's own residual
    /// stream is not changed.
    Attention(usize),
    /// The hidden state between attention and feed-forward layer of decoder layer i, from 0.
    Inside(usize),
    /// The hidden state that leaves decoder layer i, from 0.
    After(usize),
}

/// A name that is not an address, with a way out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({help})")]
pub struct AddressError {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: String,
    /// Whether the address is well-formed, but the model is not that deep.
    pub beyond: bool,
}

impl AddressError {
    fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into(), beyond: false }
    }

    fn beyond(message: String, help: String) -> Self {
        Self { message, help, beyond: true }
    }
}

const VISION_HELP: &str = "vision states are `embed`, `block.1` … `block.last` and `post_norm`";
const POINT_HELP: &str =
    "points are `before layer.0` … `before layer.last`, and the same with `attention`, `inside` and `after`";

impl VisionAddress {
    /// Reads an address as it is written in a recipe, for an encoder of `depth` blocks: `block.last` becomes
    /// `block.{depth}`, and a block beyond the depth is an error.
    pub fn parse(text: &str, depth: usize) -> Result<Self, AddressError> {
        let address = match text {
            "block.last" => Self::Block(depth),
            _ => text.parse()?,
        };
        match address {
            Self::Block(block) if block > depth => Err(AddressError::beyond(
                format!("`{text}` is beyond the vision encoder, which has {depth} blocks"),
                format!("the last one is `block.{depth}`, or `block.last`"),
            )),
            _ => Ok(address),
        }
    }
}

impl PointAddress {
    /// Reads an address as it is written in a recipe, for a decoder of `depth` layers: `layer.last` becomes
    /// `layer.{depth - 1}`, and a layer beyond the depth is an error.
    pub fn parse(text: &str, depth: usize) -> Result<Self, AddressError> {
        let last = depth.saturating_sub(1);
        let address = match text {
            "before layer.last" => Self::Before(last),
            "attention layer.last" => Self::Attention(last),
            "inside layer.last" => Self::Inside(last),
            "after layer.last" => Self::After(last),
            _ => text.parse()?,
        };
        if address.layer().is_some_and(|layer| layer > last) {
            return Err(AddressError::beyond(
                format!("`{text}` is beyond the language model, which has {depth} layers"),
                format!("layers count from 0: the last one is `layer.{last}`, or `layer.last`"),
            ));
        }
        Ok(address)
    }

    /// Whether an answer can depend on what is added here at image positions, in a decoder of `depth` layers. Answers
    /// read the image through the attention of a later layer; behind that of the last one there is none.
    pub fn reaches_answers(self, depth: usize) -> bool {
        let last = depth.saturating_sub(1);
        self != Self::After(last) && self != Self::Inside(last)
    }

    /// The decoder layer it is before, in or after; none for the input.
    pub fn layer(self) -> Option<usize> {
        match self {
            Self::Input => None,
            Self::Before(layer) | Self::Attention(layer) | Self::Inside(layer) | Self::After(layer) => {
                Some(layer)
            }
        }
    }

    /// The short name in edges, parameters and metrics: `input`, `layer.4` for `before layer.4`,
    /// `layer.4.attention`, `layer.4.inside` and `layer.4.after` for the others. It never contains a space and never clashes.
    pub fn name(self) -> String {
        match self {
            Self::Input => "input".to_owned(),
            Self::Before(layer) => format!("layer.{layer}"),
            Self::Attention(layer) => format!("layer.{layer}.attention"),
            Self::Inside(layer) => format!("layer.{layer}.inside"),
            Self::After(layer) => format!("layer.{layer}.after"),
        }
    }
}

impl fmt::Display for VisionAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embed => f.write_str("embed"),
            Self::Block(block) => write!(f, "block.{block}"),
            Self::PostNorm => f.write_str("post_norm"),
        }
    }
}

impl fmt::Display for PointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input => f.write_str("input"),
            Self::Before(layer) => write!(f, "before layer.{layer}"),
            Self::Attention(layer) => write!(f, "attention layer.{layer}"),
            Self::Inside(layer) => write!(f, "inside layer.{layer}"),
            Self::After(layer) => write!(f, "after layer.{layer}"),
        }
    }
}

impl FromStr for VisionAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text {
            "embed" => return Ok(Self::Embed),
            "post_norm" => return Ok(Self::PostNorm),
            "block.0" => {
                return Err(AddressError::new(
                    "there is no `block.0`: vision blocks count from 1",
                    "the state before the first block is `embed`",
                ));
            }
            "block.last" => {
                return Err(AddressError::new(
                    "`block.last` needs an encoder to count its blocks",
                    "a resolved recipe names the block by number",
                ));
            }
            _ => {}
        }
        match text.strip_prefix("block.").and_then(number) {
            Some(block) => Ok(Self::Block(block)),
            None => Err(AddressError::new(format!("`{text}` is not a vision state"), VISION_HELP)),
        }
    }
}

impl FromStr for PointAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text == "input" {
            return Ok(Self::Input);
        }
        let layer = |rest: &str| rest.strip_prefix("layer.").and_then(number);
        if let Some(layer) = text.strip_prefix("before ").and_then(layer) {
            return Ok(Self::Before(layer));
        }
        if let Some(layer) = text.strip_prefix("attention ").and_then(layer) {
            return Ok(Self::Attention(layer));
        }
        if let Some(layer) = text.strip_prefix("inside ").and_then(layer) {
            return Ok(Self::Inside(layer));
        }
        if let Some(layer) = text.strip_prefix("after ").and_then(layer) {
            return Ok(Self::After(layer));
        }
        let help = if text.starts_with("layer.") {
            format!("say where: `before {text}`, `attention {text}`, `inside {text}` or `after {text}`")
        } else {
            POINT_HELP.to_owned()
        };
        Err(AddressError::new(format!("`{text}` is not a place in the language model"), help))
    }
}

/// A plain decimal number: digits only, no leading zero.
fn number(text: &str) -> Option<usize> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

macro_rules! written_as_string {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
written_as_string!(VisionAddress);
written_as_string!(PointAddress);

impl JsonSchema for VisionAddress {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "VisionAddress".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A vision state: `embed`, `block.1` … `block.last`, or `post_norm`.",
            "type": "string",
            "pattern": r"^(embed|post_norm|block\.(last|[1-9][0-9]*))$",
        })
    }
}

impl JsonSchema for PointAddress {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PointAddress".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A place in the decoder: `before layer.0` …, `attention layer.0` …, `inside layer.0` … or `after layer.0` …; `layer.last` is the last one.",
            "type": "string",
            "pattern": r"^(before|attention|inside|after) layer\.(last|0|[1-9][0-9]*)$",
        })
    }
}

/// How a set of addresses is described to an editor.
macro_rules! set_schema {
    ($(#[$meta:meta])* $set:ident, $every:ident, $range:ident, $count:ident, $part:ident, $address:ty, $listed:ty, $from:literal, $to:literal) => {
        $(#[$meta])*
        #[derive(JsonSchema)]
        #[serde(untagged)]
        #[expect(dead_code, reason = "the shape of the schema only")]
        pub(super) enum $set {
            /// The addresses themselves, in order.
            List(Vec<$listed>),
            /// Every n-th layer.
            Every($every),
            /// All layers between two, both included.
            Range($range),
            /// So many layers, evenly spread.
            Count($count),
            /// One of several equal parts.
            Part($part),
        }

        /// Every n-th layer from `from` to at most `to`.
        #[derive(JsonSchema)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "the shape of the schema only")]
        pub(super) struct $every {
            /// The stride, from 1.
            #[schemars(range(min = 1, max = 1024))]
            every: usize,
            #[doc = concat!("The first one. Default: `", $from, "`.")]
            from: Option<$address>,
            #[doc = concat!("Where to stop. Default: `", $to, "`.")]
            to: Option<$address>,
        }

        /// All layers between two, both included.
        #[derive(JsonSchema)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "the shape of the schema only")]
        pub(super) struct $range {
            /// The first and the last one.
            range: [$address; 2],
        }

        /// So many layers, evenly spread from `from` to `to`, both included and rounded to the nearest layer.
        #[derive(JsonSchema)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "the shape of the schema only")]
        pub(super) struct $count {
            /// How many, from 1. One is `to` itself.
            #[schemars(range(min = 1, max = 1024))]
            count: usize,
            #[doc = concat!("The first one. Default: `", $from, "`.")]
            from: Option<$address>,
            #[doc = concat!("The last one. Default: `", $to, "`.")]
            to: Option<$address>,
        }

        /// Part i of n equal parts of all layers from `from` to `to`, both included; where they cannot be equal, the first ones are
        /// the shorter.
        #[derive(JsonSchema)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "the shape of the schema only")]
        pub(super) struct $part {
            /// Which part, from 1, and how many there are: `[1, 2]` is the lower half.
            part: [usize; 2],
            #[doc = concat!("The first one. Default: `", $from, "`.")]
            from: Option<$address>,
            #[doc = concat!("The last one. Default: `", $to, "`.")]
            to: Option<$address>,
        }
    };
}
set_schema!(
    /// A set of vision states.
    VisionSet, VisionEvery, VisionRange, VisionCount, VisionPart, VisionAddress, VisionAddress, "block.1", "block.last"
);
set_schema!(
    /// A set of taps: vision states by a rule, or a list that may have sources too.
    TapSet, TapEvery, TapRange, TapCount, TapPart, VisionAddress, Tap, "block.1", "block.last"
);
set_schema!(
    /// A set of places in the decoder.
    PointSet, PointEvery, PointRange, PointCount, PointPart, PointAddress, PointAddress, "before layer.0", "layer.last on the side of `from`"
);

/// A tap and a point.
pub(super) type WrittenPair = (Tap, PointAddress);
