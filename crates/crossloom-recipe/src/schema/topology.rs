//! `[topology]`: taps → adapter → points → wiring → fusion and gate → mask → phase.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::address::{PointAddress, PointSet, TapSet, WrittenPair};
use super::{
    Conditioning, CrossAttention, Input, Join, Stream, Tap, TapSource, TapSources, VisionAddress, Weighted,
    WindowAttention,
};

/// How vision layers feed the language model.
///
/// At a point with state `h`, the injected features of tap k are `V̂_k = adapter(tap_k)`; a gate gives each edge a
/// weight `W`; the fusion writes them into `h` at the positions of the mask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TopologySpec {
    /// What the visual tokens of the input are made of: a tap that the projector reads, such as `block.last`; a list of taps, whose
    /// channels it reads side by side; or `none`, where they begin as zeros and all that is seen is injected; or a connector with
    /// settings, a table with a `kind`.
    #[schemars(extend("default" = "block.last"))]
    pub input: Input,
    /// Whether visual tokens are in the sequence of the language model: `sequence`, in all layers; `none`; or, as a table, from a layer
    /// on or up to one.
    #[serde(default, skip_serializing_if = "Stream::is_default")]
    #[schemars(extend("default" = "sequence"))]
    pub stream: Stream,
    /// A vector per question, for what depends on the question. Needs one question per sequence.
    #[serde(default, skip_serializing_if = "Conditioning::is_none")]
    pub conditioning: Conditioning,
    /// Visual sources that are made of vision states, by names which taps and the input then use.
    #[serde(default, skip_serializing_if = "TapSources::is_empty")]
    #[schemars(extend("default" = {}))]
    pub sources: TapSources,
    /// Vision states or sources that are injected, in order. Empty: nothing is injected. A list of taps (`embed`,
    /// `block.7`, `block.last`, `post_norm`, names of `sources`) or a set of states (`every`, `range`, `count`).
    #[schemars(with = "TapSet", extend("default" = []))]
    pub taps: Vec<Tap>,
    /// Places in the decoder that receive them, in order. A list of addresses (`before layer.4`, `attention layer.4`,
    /// `inside layer.4`, `after layer.0`) or a set (`every`, `range`, `count`).
    #[schemars(with = "PointSet", extend("default" = []))]
    pub points: Vec<PointAddress>,
    /// Which tap feeds which point.
    #[schemars(extend("default" = "dense"))]
    pub wiring: Wiring,
    /// From vision width to language width, per tap. Default: `shared`, the input's own projector.
    pub adapter: Adapter,
    /// How the weighted features change the hidden state.
    pub fusion: Fusion,
    /// The weight W of every edge. Default: `none`.
    pub gate: Gate,
    /// Positions that are changed. Default: `visual`; of a fusion that reads the picture from every position, `all`.
    pub mask: Mask,
    /// Passes in which the injection is computed. Default: `prefill`, or `all` where text positions are changed.
    pub phase: Phase,
}

impl TopologySpec {
    /// Whether anything is injected at all.
    pub fn injects(&self) -> bool {
        !self.taps.is_empty() && !self.points.is_empty()
    }

    /// Whether a decoder layer adds its feed-forward layer to what the norm in front of it gave, in place of what the norm read.
    pub fn normed_residual(&self, layer: usize) -> bool {
        let says = matches!(&self.fusion, Fusion::CrossAttention(of) if of.normed_residual);
        says && self.injects() && self.points.contains(&PointAddress::Attention(layer))
    }

    /// The source that a tap names, and its number where it is one of several.
    pub fn source(&self, tap: &Tap) -> Option<(&TapSource, usize)> {
        let (name, number) = tap.source()?;
        Some((self.sources.get(name)?, number.unwrap_or(0)))
    }

    /// Adds the vision states that a tap is made of to a list.
    pub(crate) fn states_of(&self, tap: &Tap, states: &mut Vec<VisionAddress>) {
        match (tap, self.source(tap)) {
            (Tap::State(address), _) => states.push(*address),
            (_, Some((TapSource::Mean { of }, _))) => states.extend(of),
            (_, Some((TapSource::Stacks { of, .. }, _))) => states.push(*of),
            (_, Some((TapSource::MmFuser(fuser), _))) => {
                states.push(fuser.query);
                states.extend(&fuser.of);
            }
            (_, Some((TapSource::Channels { of }, _))) => {
                of.iter().filter(|inner| *inner != tap).for_each(|inner| self.states_of(inner, states));
            }
            (Tap::Source(_), None) => {}
        }
    }

    /// How many times larger than what the encoder reads at once pictures are: the `side` of its stacks, or 1.
    pub fn magnification(&self) -> usize {
        let side = |source: &TapSource| match source {
            TapSource::Stacks { side, .. } => *side,
            TapSource::Mean { .. } | TapSource::Channels { .. } | TapSource::MmFuser(_) => 1,
        };
        self.sources.values().map(side).max().unwrap_or(1)
    }

    /// How many states wide what the input's projector reads is; 1 where it reads nothing.
    pub fn input_width(&self) -> usize {
        match &self.input {
            Input::Channels(taps) => taps.iter().map(|tap| self.width_of(tap)).sum(),
            Input::Tokens(of) => self.width_of(&of.of),
            Input::Weighted(Weighted { base: Some(base), join: Join::Channels, .. }) => {
                1 + self.width_of(base)
            }
            Input::None | Input::Weighted(_) | Input::Windows(_) | Input::Mixture(_) => 1,
        }
    }

    /// How many states wide a tap is: the channels of so many lie side by side.
    pub fn width_of(&self, tap: &Tap) -> usize {
        match self.source(tap) {
            Some((TapSource::Channels { of }, _)) => of.iter().map(|inner| self.width_of(inner)).sum(),
            _ => 1,
        }
    }
}

/// Which tap feeds which point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "WiringForm", into = "WiringForm")]
pub enum Wiring {
    /// Every tap feeds every point.
    Dense,
    /// Tap i feeds point i; as many taps as points.
    Diagonal,
    /// The only tap feeds every point.
    Broadcast,
    /// The listed pairs, in this order.
    Pairs(Vec<(Tap, PointAddress)>),
}

/// Wirings that have a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NamedWiring {
    /// Every tap feeds every point.
    Dense,
    /// Tap i feeds point i; as many taps as points.
    Diagonal,
    /// The only tap feeds every point.
    Broadcast,
}

/// How a wiring is written: a name or a list of `["block.1", "before layer.2"]` pairs.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum WiringForm {
    Named(NamedWiring),
    Pairs(Vec<(Tap, PointAddress)>),
}

impl From<NamedWiring> for Wiring {
    fn from(name: NamedWiring) -> Self {
        match name {
            NamedWiring::Dense => Self::Dense,
            NamedWiring::Diagonal => Self::Diagonal,
            NamedWiring::Broadcast => Self::Broadcast,
        }
    }
}

impl From<WiringForm> for Wiring {
    fn from(form: WiringForm) -> Self {
        match form {
            WiringForm::Named(name) => name.into(),
            WiringForm::Pairs(pairs) => Self::Pairs(pairs),
        }
    }
}

impl From<Wiring> for WiringForm {
    fn from(wiring: Wiring) -> Self {
        match wiring {
            Wiring::Dense => Self::Named(NamedWiring::Dense),
            Wiring::Diagonal => Self::Named(NamedWiring::Diagonal),
            Wiring::Broadcast => Self::Named(NamedWiring::Broadcast),
            Wiring::Pairs(pairs) => Self::Pairs(pairs),
        }
    }
}

/// Which tap feeds which point: a name, or explicit pairs.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "the shape of the schema only")]
enum WiringSchema {
    /// A named wiring.
    Named(NamedWiring),
    /// Pairs of a tap and a point, such as `["block.1", "before layer.2"]`.
    Pairs(Vec<WrittenPair>),
}

impl JsonSchema for Wiring {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Wiring".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        WiringSchema::json_schema(generator)
    }
}

/// From vision width to language width, per tap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Adapter {
    /// Every tap passes the input's own projector. No new parameters.
    Shared {
        /// A norm on each tap before the projector.
        #[schemars(extend("default" = "none"))]
        tap_norm: TapNorm,
    },
    /// Every tap has a projector of its own, of the same shape as the input's.
    PerTap {
        /// A norm on each tap before the projector.
        #[schemars(extend("default" = "none"))]
        tap_norm: TapNorm,
    },
    /// Every edge has a projector of its own, of the same shape as the input's.
    PerEdge {
        /// A norm on each tap before the projector, one per edge.
        #[schemars(extend("default" = "none"))]
        tap_norm: TapNorm,
        /// Points whose queries begin as one patch each in place of the mean of four: those of the first as the top left of every
        /// two by two patches, then top right, bottom left, bottom right. With a projector of `window_queries` whose queries stand
        /// for two by two patches; at most four.
        #[schemars(extend("default" = []))]
        corners: Vec<PointAddress>,
    },
    /// Every tap has one linear layer of its own (Llama-3.2-Vision).
    Linear {
        /// A norm on each tap before the layer.
        #[schemars(extend("default" = "none"))]
        tap_norm: TapNorm,
        /// A bias on the layer.
        #[schemars(extend("default" = true))]
        bias: bool,
    },
    /// Every tap is brought to one width by two layers and a norm of its own, patch by patch, whatever the projector merges: what
    /// the fusion `windows` reads.
    Windows {
        /// That width. Default: the encoder's.
        #[schemars(range(min = 1, max = 1_048_576))]
        hidden: usize,
    },
    /// Adaptive multi-projection: the shared projector plus a low-rank branch per tap.
    Amp {
        /// Rank r of the branch. The paper does not state it; 16 is a common low-rank width.
        #[schemars(range(min = 1, max = 65536), extend("default" = 16))]
        rank: usize,
        /// The branch is scaled by `alpha / rank`. Default: equal to `rank`, so that a sweep over the rank does not
        /// change the scale.
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        alpha: f64,
        /// Where the branch is attached.
        #[schemars(extend("default" = "parallel"))]
        attach: AmpAttach,
        /// A norm on each tap before the projector and the branch.
        #[schemars(extend("default" = "none"))]
        tap_norm: TapNorm,
    },
}

impl Adapter {
    /// The norm on each tap.
    pub fn tap_norm(&self) -> TapNorm {
        match self {
            Self::Shared { tap_norm }
            | Self::PerTap { tap_norm }
            | Self::PerEdge { tap_norm, .. }
            | Self::Linear { tap_norm, .. }
            | Self::Amp { tap_norm, .. } => *tap_norm,
            Self::Windows { .. } => TapNorm::None,
        }
    }
}

/// Where the low-rank branch of AMP is attached. A is random and B is zero, so every branch starts at zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AmpAttach {
    /// Beside the whole projector, `P(V) + B·A·V`: the equation as the paper is quoted, hence the default.
    Parallel,
    /// On each of the projector's two linear layers, as common low-rank libraries do.
    PerLinear,
}

/// A norm on a vision state. Shallow vision layers have other magnitudes than the last one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TapNorm {
    /// None: the paper mentions none, hence the default.
    #[default]
    None,
    /// A layer norm on every patch, with its own parameters per tap.
    Layer,
    /// The same on every block of patches that are merged, all of its channels at once (Qwen3-VL's taps).
    Merged,
}

impl TapNorm {
    /// Whether there is none.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde asks for")]
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// How features change the hidden state h at the masked positions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fusion {
    /// `h + Σ V̂`, without a gate.
    Add {
        /// How several taps at one point follow each other.
        #[schemars(extend("default" = "parallel"))]
        order: FusionOrder,
    },
    /// `h + Σ W·V̂`: the residual reading of the paper's "weighted sum".
    GatedAdd {
        /// How several taps at one point follow each other.
        #[schemars(extend("default" = "parallel"))]
        order: FusionOrder,
    },
    /// `h + Σ W·(V̂ − h)`, with one tap `(1−W)·h + W·V̂`: the convex reading of the paper's "weighted sum".
    Convex {
        /// How several taps at one point follow each other.
        #[schemars(extend("default" = "parallel"))]
        order: FusionOrder,
    },
    /// A layer of attention from positions to the features of all taps of the point, with gates that begin at zero.
    CrossAttention(CrossAttention),
    /// A layer in which every visual token reads the patches in its own window, of all taps of the point.
    Windows(WindowAttention),
}

impl Fusion {
    /// How taps at a point follow each other, where each position adds up its own rows of their features.
    pub fn order(&self) -> Option<FusionOrder> {
        match self {
            Self::Add { order } | Self::GatedAdd { order } | Self::Convex { order } => Some(*order),
            Self::CrossAttention(_) | Self::Windows(_) => None,
        }
    }

    /// Whether it multiplies features by the weight W of a gate.
    pub fn is_gated(&self) -> bool {
        matches!(self, Self::GatedAdd { .. } | Self::Convex { .. })
    }
}

/// How several taps at one point follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FusionOrder {
    /// All gates read the same h and all updates are summed. One pass over h, hence the default.
    Parallel,
    /// One tap after the other, in the order of `taps`, or of the pairs where `wiring` lists them; each gate reads the h
    /// that the previous tap has left.
    Sequential,
}

/// The weight W of every edge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Gate {
    /// No gate: W = 1, nothing to compute.
    None {},
    /// The same fixed weight on every edge.
    Constant {
        /// The weight W.
        value: f64,
    },
    /// One learned number per edge, used as it is (no sigmoid).
    Static {
        /// W at step 0. The default is sigmoid(−4), where the `agf` gate starts, so that the two compare.
        #[schemars(extend("default" = 0.018))]
        init: f64,
    },
    /// Adaptive gating fusion: W depends on the picture and on the hidden state.
    Agf(AgfGate),
}

/// Adaptive gating fusion. A learned query pools the tap, another pools the hidden state, and a linear layer with a
/// sigmoid turns the two summaries into W.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgfGate {
    /// How the learned queries pool. The paper speaks of (multi-head) cross-attention and is silent on its
    /// projections.
    #[schemars(extend("default" = "shared"))]
    pub attention: GateAttention,
    /// Heads of that attention; must divide the language model's `hidden`. Default: as many as the language model has;
    /// 1 when `attention` is `none`, which has no heads.
    #[schemars(range(min = 1, max = 1024))]
    pub heads: usize,
    /// How many numbers W has per edge.
    #[schemars(extend("default" = "scalar"))]
    pub granularity: GateGranularity,
    /// Start of the controller's bias. The paper does not state it; −4 gives W ≈ 0.018, so that training starts near
    /// the model without injection, while 0 would add half of every tap at once.
    #[schemars(extend("default" = -4.0))]
    pub bias_init: f64,
    /// Positions over which the hidden state is pooled. Never the answer: that would leak the label.
    #[schemars(extend("default" = "prompt"))]
    pub pool: GatePool,
    /// Which edges share queries, attention and controller.
    #[schemars(extend("default" = "point"))]
    pub share: GateShare,
}

/// How the learned queries of AGF pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GateAttention {
    /// Attention without projections: keys and values are the features themselves, one head.
    None,
    /// One multi-head attention with q, k, v, o projections for both summaries: half the parameters of `separate`, hence
    /// the default.
    Shared,
    /// Two multi-head attentions, one for the tap and one for the hidden state.
    Separate,
}

/// How many numbers W has per edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GateGranularity {
    /// One number: the paper draws one weight per pair of layers, hence the default.
    Scalar,
    /// One number per channel of the language model.
    Channel,
}

/// Positions over which AGF pools the hidden state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GatePool {
    /// Image positions only: the gate depends on the picture, not on the question.
    Image,
    /// Image and question positions: the gate knows the question. Needs one question per sequence.
    Prompt,
}

/// Which edges share one gate module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GateShare {
    /// One module per point, used for all its taps: the default.
    Point,
    /// One module per edge.
    Edge,
    /// One module for the whole model.
    Global,
}

/// Positions that an injection changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mask {
    /// The positions of visual tokens.
    Visual,
    /// The positions of text: questions and answers.
    Text,
    /// All positions.
    All,
}

/// Passes in which an injection is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Once, when the prompt is read. Visual positions do not occur in decode steps.
    Prefill,
    /// When the prompt is read, and in every decode step: what is read of the picture is kept beside the cache.
    All,
}
