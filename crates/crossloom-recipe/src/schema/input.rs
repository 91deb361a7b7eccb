//! What the visual tokens of the input are made of.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Tap, WindowInput};

/// The connector at the input: from vision states to the embeddings that stand at the positions of the visual tokens. It ends in
/// the projector of `model.projector`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "InputForm", into = "InputForm")]
pub enum Input {
    /// Visual tokens begin as zeros: all that is seen is injected.
    None,
    /// The projector reads the channels of these taps side by side: one state as in LLaVA, several as with a list of feature
    /// layers, means as in dense connectors.
    Channels(Vec<Tap>),
    /// A learned token reads windows of these taps.
    Windows(WindowInput),
}

impl Input {
    /// What it reads, each once, in order.
    pub fn taps(&self) -> &[Tap] {
        match self {
            Self::None => &[],
            Self::Channels(taps) => taps,
            Self::Windows(windows) => &windows.of,
        }
    }
}

impl<T: Into<Tap>> FromIterator<T> for Input {
    /// The channels of these taps side by side; nothing of none.
    fn from_iter<I: IntoIterator<Item = T>>(taps: I) -> Self {
        let taps: Vec<Tap> = taps.into_iter().map(Into::into).collect();
        if taps.is_empty() { Self::None } else { Self::Channels(taps) }
    }
}

/// How it is written: one tap, a list of them, a word or a table.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum InputForm {
    /// No state.
    None(Nothing),
    /// One tap.
    One(Tap),
    /// Several, their channels side by side.
    Several(#[schemars(length(min = 1), extend("uniqueItems" = true))] Vec<Tap>),
    /// A connector that is more than the projector.
    Connector(Connector),
}

/// A connector by its kind.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Connector {
    /// A learned token reads windows of taps.
    Windows(WindowInput),
}

/// The word for no state.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Nothing {
    /// No state.
    None,
}

impl From<Input> for InputForm {
    fn from(input: Input) -> Self {
        match input {
            Input::None => Self::None(Nothing::None),
            Input::Channels(mut taps) if taps.len() == 1 => match taps.pop() {
                Some(only) => Self::One(only),
                None => Self::None(Nothing::None),
            },
            Input::Channels(taps) => Self::Several(taps),
            Input::Windows(windows) => Self::Connector(Connector::Windows(windows)),
        }
    }
}

impl From<InputForm> for Input {
    fn from(form: InputForm) -> Self {
        match form {
            InputForm::None(Nothing::None) => Self::None,
            InputForm::One(only) => Self::Channels(vec![only]),
            InputForm::Several(several) => Self::Channels(several),
            InputForm::Connector(Connector::Windows(windows)) => Self::Windows(windows),
        }
    }
}

impl JsonSchema for Input {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Input".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        InputForm::json_schema(generator)
    }
}
