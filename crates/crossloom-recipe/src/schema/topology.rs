//! `[topology]`: what is at the input, whether visual tokens are in the sequence, and what is injected.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Conditioning, Fusion, Injection, Input, Join, NamedInjection, PointAddress, Stream, Tap, TapSource,
    TapSources, VisionAddress, Weighted,
};

/// Names that an injection may not have: weights of the one without a name begin with them.
pub(crate) const TAKEN: [&str; 4] = ["adapter", "connector", "fusion", "gate"];

/// How vision layers feed the language model: at its input, and between its layers by an injection, or by several.
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
    /// The injection that has no name.
    #[serde(flatten)]
    pub main: Injection,
    /// Further injections, by names: each has taps, points, a wiring, an adapter, a fusion, a gate, a mask and a phase of its own. A
    /// point belongs to one injection.
    #[serde(rename = "injections", default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("default" = {}, "propertyNames" = { "pattern": "^[a-z][a-z0-9_]{0,31}$", "not": { "enum": TAKEN } }))]
    pub named: BTreeMap<String, Injection>,
}

impl TopologySpec {
    /// All that inject something: the one without a name, then the others by name.
    pub fn injections(&self) -> impl Iterator<Item = NamedInjection<'_>> {
        let main = std::iter::once(NamedInjection { name: None, of: &self.main });
        let named = self.named.iter().map(|(name, of)| NamedInjection { name: Some(name), of });
        main.chain(named).filter(|injection| injection.of.injects())
    }

    /// All of them, also those that inject nothing, to be changed.
    pub fn injections_mut(&mut self) -> impl Iterator<Item = &mut Injection> {
        std::iter::once(&mut self.main).chain(self.named.values_mut())
    }

    /// Whether anything is injected at all.
    pub fn injects(&self) -> bool {
        self.injections().next().is_some()
    }

    /// The injection that a point belongs to.
    pub fn injection_at(&self, point: PointAddress) -> Option<NamedInjection<'_>> {
        self.injections().find(|injection| injection.of.points.contains(&point))
    }

    /// Every tap that is injected, once, in the order of the injections.
    pub fn taps(&self) -> Vec<Tap> {
        let mut taps: Vec<Tap> = Vec::new();
        for tap in self.injections().flat_map(|injection| &injection.of.taps) {
            if !taps.contains(tap) {
                taps.push(tap.clone());
            }
        }
        taps
    }

    /// Every point, in the order of the injections.
    pub fn points(&self) -> impl Iterator<Item = PointAddress> {
        self.injections().flat_map(|injection| injection.of.points.iter().copied())
    }

    /// Whether a decoder layer adds its feed-forward layer to what the norm in front of it gave, in place of what the norm read.
    pub fn normed_residual(&self, layer: usize) -> bool {
        self.injection_at(PointAddress::Attention(layer)).is_some_and(
            |injection| matches!(&injection.of.fusion, Fusion::CrossAttention(of) if of.normed_residual),
        )
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

    /// Why a row must have exactly one whole picture: keys, each with what about it asks for that. Empty where a row may have several
    /// pictures, tiles of one, or none.
    pub fn needs_one_picture(&self) -> Vec<(&'static str, &'static str)> {
        let mut needs = Vec::new();
        if self.stream == Stream::None {
            needs.push(("topology.stream", "no visual tokens are in the sequence"));
        }
        if !self.conditioning.is_none() {
            needs.push((
                "topology.conditioning",
                "images are connected one by one, and none is told of the question of its row",
            ));
        }
        if self.sources.values().any(|source| matches!(source, TapSource::Stacks { .. })) {
            needs.push(("topology.sources", "stacks cut every picture into tiles of their own"));
        }
        match &self.input {
            Input::None | Input::Channels(_) | Input::Weighted(_) => {}
            Input::Tokens(_) => {
                needs.push(("topology.input", "it has further tokens behind those of the picture's patches"));
            }
            Input::Windows(_) => needs.push(("topology.input", "it reads windows of one picture")),
            Input::Mixture(_) => {
                needs.push((
                    "topology.input",
                    "its experts are balanced over the pictures of a batch, one of each row",
                ));
            }
        }
        if self
            .injections()
            .any(|injection| matches!(injection.of.fusion, Fusion::CrossAttention(_) | Fusion::Windows(_)))
        {
            let why =
                "positions read all rows of a picture, whose number is fixed, and none of them is masked";
            needs.push(("topology.fusion", why));
        }
        needs
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
