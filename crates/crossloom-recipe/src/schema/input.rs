//! What the visual tokens of the input are made of.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Mixture, Tap, WindowInput};

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
    /// More visual tokens than one state has.
    Tokens(TokenConcat),
    /// A weighted sum of taps.
    Weighted(Weighted),
    /// A learned token reads windows of taps.
    Windows(WindowInput),
    /// A mixture of taps that the question chooses.
    Mixture(Mixture),
}

impl Input {
    /// What it reads, each once, in order.
    pub fn taps(&self) -> Vec<Tap> {
        match self {
            Self::None => Vec::new(),
            Self::Channels(taps) => taps.clone(),
            Self::Tokens(of) => std::iter::once(&of.of).chain(&of.also).cloned().collect(),
            Self::Weighted(of) => of.base.iter().chain(&of.of).cloned().collect(),
            Self::Windows(windows) => windows.of.clone(),
            Self::Mixture(of) => of.of.iter().chain([&of.reserve]).cloned().collect(),
        }
    }

    /// Whether it has weights of its own beside the projector.
    pub fn learns(&self) -> bool {
        match self {
            Self::None | Self::Channels(_) | Self::Tokens(_) => false,
            Self::Windows(_) | Self::Mixture(_) => true,
            Self::Weighted(of) => of.norm || !matches!(of.weights, LayerWeights::Uniform {}),
        }
    }
}

/// A state as visual tokens, and behind them others in fewer: means over as many neighbours in the order of the patches (the sparse
/// token integration of the Dense Connector). All pass the same projector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenConcat {
    /// What has a token per patch.
    pub of: Tap,
    /// What follows it, one after the other.
    pub also: Vec<Tap>,
    /// Patches that become one token of these. A remainder is left out.
    #[schemars(range(min = 1, max = 4096), extend("default" = 8))]
    pub pool: usize,
}

/// `Σ w_k V_k` over taps, patch by patch, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Weighted {
    /// The taps that are weighed, each as wide as one state.
    pub of: Vec<Tap>,
    /// A tap that is joined to their sum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Tap>,
    /// How it is joined. Default: `channels`.
    #[schemars(extend("default" = "channels"))]
    pub join: Join,
    /// A layer norm on what the projector reads.
    #[schemars(extend("default" = false))]
    pub norm: bool,
    /// The weights w, which sum to 1.
    pub weights: LayerWeights,
}

/// How a base is joined to a weighted sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Join {
    /// The base's channels, then those of the sum (IGVA's released code).
    Channels,
    /// They are added (TGIF).
    Add,
}

/// Where the weights of a weighted sum come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum LayerWeights {
    /// All alike.
    Uniform {},
    /// Softmax of one learned number per tap, all zero at first.
    Static {},
    /// Softmax of two linear layers over the question's vector (TGIF).
    Question {
        /// Width between the two.
        #[schemars(range(min = 1, max = 65536), extend("default" = 512))]
        hidden: usize,
        /// Factor of `Σ w̄ log w̄` in the loss, w̄ being the mean over the batch.
        #[schemars(extend("default" = 0.0))]
        entropy: f64,
    },
    /// The question's vector reads one summary per tap in layers of attention and feed-forward (IGVA): the class tokens of the
    /// encoder, or the mean of all patches where it has none.
    Allocator {
        /// Layers.
        #[schemars(range(min = 1, max = 64), extend("default" = 4))]
        layers: usize,
        /// Attention heads; must divide the vision width.
        #[schemars(range(min = 1, max = 1024), extend("default" = 4))]
        heads: usize,
        /// Factor of the balance loss, minus the mean entropy of the weights.
        #[schemars(extend("default" = 0.02))]
        balance: f64,
        /// The entropy is that of a second softmax over the weights, as in the released code; not so in the paper.
        #[schemars(extend("default" = false))]
        double_softmax: bool,
    },
}

impl LayerWeights {
    /// Whether they depend on the question.
    pub fn reads_question(&self) -> bool {
        matches!(self, Self::Question { .. } | Self::Allocator { .. })
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
    /// A connector with settings.
    Table(Connector),
}

/// Connectors with settings.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Connector {
    /// More visual tokens than one state has.
    Tokens(TokenConcat),
    /// A weighted sum of taps.
    Weighted(Weighted),
    /// A learned token reads windows of taps.
    Windows(WindowInput),
    /// A mixture of taps that the question chooses.
    Mixture(Mixture),
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
            Input::Tokens(of) => Self::Table(Connector::Tokens(of)),
            Input::Weighted(of) => Self::Table(Connector::Weighted(of)),
            Input::Windows(of) => Self::Table(Connector::Windows(of)),
            Input::Mixture(of) => Self::Table(Connector::Mixture(of)),
        }
    }
}

impl From<InputForm> for Input {
    fn from(form: InputForm) -> Self {
        match form {
            InputForm::None(Nothing::None) => Self::None,
            InputForm::One(only) => Self::Channels(vec![only]),
            InputForm::Several(several) => Self::Channels(several),
            InputForm::Table(Connector::Tokens(of)) => Self::Tokens(of),
            InputForm::Table(Connector::Weighted(of)) => Self::Weighted(of),
            InputForm::Table(Connector::Windows(of)) => Self::Windows(of),
            InputForm::Table(Connector::Mixture(of)) => Self::Mixture(of),
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
