//! Where visual tokens are in the sequence of the language model.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PointAddress;

/// Whether visual tokens are in the sequence of the language model, and in which layers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "StreamForm", into = "StreamForm")]
pub enum Stream {
    /// They stand before the text.
    #[default]
    Sequence,
    /// There are none: layers read the picture through injections alone (Flamingo, Llama-3.2-Vision).
    None,
    /// They stand before the text in some layers only. In all others nothing attends to them, and they keep their positions.
    Between(Stretch),
}

/// Layers that follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stretch {
    /// Where visual tokens enter, as the input made them: before a layer. Default: `before layer.0`.
    pub from: PointAddress,
    /// Where they leave: after a layer. Default: `after layer.last`.
    pub to: PointAddress,
}

impl Stretch {
    /// The first layer that has them.
    pub fn first(&self) -> usize {
        self.from.layer().unwrap_or(0)
    }

    /// The last layer that has them.
    pub fn last(&self) -> usize {
        self.to.layer().unwrap_or(usize::MAX)
    }

    /// Whether a layer has them.
    pub fn holds(&self, layer: usize) -> bool {
        (self.first()..=self.last()).contains(&layer)
    }
}

impl Stream {
    /// Whether it is what was meant before it could be said.
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The layers that have visual tokens, where not all have them and some do.
    pub fn stretch(&self) -> Option<Stretch> {
        match self {
            Self::Sequence | Self::None => None,
            Self::Between(stretch) => Some(*stretch),
        }
    }

    /// The first layer that has visual tokens, if any has.
    pub fn first_layer(&self) -> usize {
        self.stretch().map_or(0, |stretch| stretch.first())
    }
}

/// How it is written: a word, or where visual tokens enter and leave.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum StreamForm {
    /// In all layers, or in none.
    Word(StreamWord),
    /// In some layers.
    Between(Stretch),
}

/// In all layers, or in none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StreamWord {
    /// Visual tokens stand before the text.
    Sequence,
    /// There are none: layers read the picture through injections alone (Flamingo, Llama-3.2-Vision).
    None,
}

impl From<StreamWord> for Stream {
    fn from(word: StreamWord) -> Self {
        match word {
            StreamWord::Sequence => Self::Sequence,
            StreamWord::None => Self::None,
        }
    }
}

impl From<StreamForm> for Stream {
    fn from(form: StreamForm) -> Self {
        match form {
            StreamForm::Word(word) => word.into(),
            StreamForm::Between(stretch) => Self::Between(stretch),
        }
    }
}

impl From<Stream> for StreamForm {
    fn from(stream: Stream) -> Self {
        match stream {
            Stream::Sequence => Self::Word(StreamWord::Sequence),
            Stream::None => Self::Word(StreamWord::None),
            Stream::Between(stretch) => Self::Between(stretch),
        }
    }
}

impl JsonSchema for Stream {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Stream".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        StreamForm::json_schema(generator)
    }
}
