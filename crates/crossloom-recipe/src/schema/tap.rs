//! What an edge starts at: a state of the encoder, or a source that the recipe makes of states.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::address::AddressError;
use super::{MmFuser, VisionAddress};

/// A named visual source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tap {
    /// A state of the encoder, `[B, patches, Dv]`.
    State(VisionAddress),
    /// A source of `topology.sources`, by its name: `low`, or `fine.2` where it is one of several.
    Source(String),
}

impl Tap {
    /// The state that it is, where it is one.
    pub fn state(&self) -> Option<VisionAddress> {
        match self {
            Self::State(address) => Some(*address),
            Self::Source(_) => None,
        }
    }

    /// The name in `topology.sources`, and the number where it is one of several.
    pub fn source(&self) -> Option<(&str, Option<usize>)> {
        match self {
            Self::State(_) => None,
            Self::Source(name) => Some(match name.split_once('.') {
                Some((name, number)) => (name, number.parse().ok()),
                None => (name, None),
            }),
        }
    }
}

impl PartialEq<VisionAddress> for Tap {
    fn eq(&self, address: &VisionAddress) -> bool {
        self.state() == Some(*address)
    }
}

impl From<VisionAddress> for Tap {
    fn from(address: VisionAddress) -> Self {
        Self::State(address)
    }
}

impl fmt::Display for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State(address) => address.fmt(f),
            Self::Source(name) => f.write_str(name),
        }
    }
}

/// Whether a source may be called so: letters, digits and `_`, beginning with a letter, and no word that is an address.
pub(crate) fn is_source_name(name: &str) -> bool {
    let known = ["embed", "post_norm", "block", "input", "none", "layer"];
    is_small_name(name) && !known.contains(&name)
}

/// Whether a text is up to 32 small letters, digits and `_` behind a letter: what names something in a topology.
pub(crate) fn is_small_name(name: &str) -> bool {
    name.len() <= 32
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_')
}

impl FromStr for Tap {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (name, number) = text.split_once('.').unwrap_or((text, "0"));
        if is_source_name(name) && number.parse::<usize>().is_ok() {
            return Ok(Self::Source(text.to_owned()));
        }
        text.parse().map(Self::State)
    }
}

impl Serialize for Tap {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Tap {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Tap {
    fn schema_name() -> Cow<'static, str> {
        "Tap".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A vision state, `embed`, `block.1` … `block.last` or `post_norm`, or the name of one of `topology.sources`.",
            "type": "string",
            "pattern": r"^(embed|post_norm|block\.(last|[1-9][0-9]*)|(?!(embed|post_norm|block|layer|input|none)(\.|$))[a-z][a-z0-9_]*(\.[0-9]+)?)$",
        })
    }
}

/// The sources of a recipe, by name.
pub type TapSources = BTreeMap<String, TapSource>;

/// How a visual source is made of states of the encoder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum TapSource {
    /// The mean of states, patch by patch and channel by channel (the groups of IGVA and of dense connectors).
    Mean {
        /// The states.
        #[schemars(with = "super::address::VisionSet")]
        of: Vec<VisionAddress>,
    },
    /// The channels of states, or of other sources, side by side in one wide row per patch (Llama-3.2-Vision).
    Channels {
        /// What is laid side by side, in order.
        of: Vec<Tap>,
    },
    /// A state that reads others around each of its patches and adds what it finds (MMFuser).
    #[serde(rename = "mmfuser")]
    MmFuser(MmFuser),
    /// A picture of `side` times the size, cut into tiles that pass the encoder one by one, its patches dealt out to `side`²
    /// sources `NAME.0`, `NAME.1`, … of as many patches as the picture's own (DeepStack). Pictures are then read in that size, and what
    /// the encoder sees as the picture itself is the mean over `side` by `side` pixels.
    Stacks {
        /// The state of every tile.
        of: VisionAddress,
        /// Tiles along a side of the picture.
        #[schemars(range(min = 2, max = 8), extend("default" = 2))]
        side: usize,
        /// Which patches a stack takes.
        #[schemars(extend("default" = "2d"))]
        sampling: Sampling,
    },
}

/// Which patches of a picture in high resolution one of its stacks takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// Stack (i, j) takes rows i, i + side, … and columns j, j + side, … of the whole picture, so that each stack is a dilated
    /// picture: DeepStack's own choice, hence the default.
    #[serde(rename = "2d")]
    Grid2d,
    /// The same of means over two by two patches of every tile: with `model.projector = { merge = 2, merging = "mean" }`, which makes as
    /// many of the picture's own.
    #[serde(rename = "2d_scaledown")]
    Scaledown2d,
    /// Stack i takes patches i, i + side², … of the whole picture row by row.
    #[serde(rename = "1d")]
    Grid1d,
    /// Stack (i, j) is tile (i, j).
    #[serde(rename = "tiles")]
    Tiles,
}

impl TapSource {
    /// How many taps it is.
    pub fn count(&self) -> usize {
        match self {
            Self::Mean { .. } | Self::Channels { .. } | Self::MmFuser(_) => 1,
            Self::Stacks { side, .. } => side * side,
        }
    }
}
