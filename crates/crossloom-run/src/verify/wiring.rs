//! What a recipe declares: its edges, each from vision states to a place of the decoder.

use crossloom_model::{VisionState, states_of};
use crossloom_recipe::{FusionOrder, Mask, Phase, PointAddress, Recipe, Topology};

use super::stream::{Halves, Place};
use crate::ExperimentError;

/// An edge as the recipe declares it.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    /// Its name, as `block.7->layer.4`.
    pub(crate) name: String,
    /// Its tap, an index into [`Wiring::taps`].
    pub(crate) tap: usize,
    /// Its point, an index into [`Wiring::points`].
    pub(crate) point: usize,
    /// Whether that is the input.
    pub(crate) is_input: bool,
    /// The injection that it belongs to, an index into [`Wiring::injections`]; none of the input.
    pub(crate) injection: Option<usize>,
}

/// A tap: what edges begin at.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tap {
    /// Its name in edges and parameters.
    pub(crate) name: String,
    /// The vision states that it is made of.
    pub(crate) states: Vec<VisionState>,
    /// Whether it is one of them, and not made of some.
    pub(crate) is_state: bool,
}

/// A point: where edges end.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Point {
    /// Its name in edges and parameters.
    pub(crate) name: String,
    /// Where it lies in the decoder.
    pub(crate) place: Place,
    /// Whether its edges act when a prompt is read, and when a token is generated.
    pub(crate) acts: [bool; 2],
    /// Which positions its edges change.
    pub(crate) mask: Mask,
    /// Whether what a tap adds there does not depend on the point's other taps.
    pub(crate) independent: bool,
}

/// The wiring of a recipe.
#[derive(Clone, Debug)]
pub(crate) struct Wiring {
    pub(crate) edges: Vec<Wire>,
    pub(crate) taps: Vec<Tap>,
    pub(crate) points: Vec<Point>,
    /// What the names of each injection's weights begin with.
    pub(crate) injections: Vec<String>,
    /// Layers whose halves it changes.
    pub(crate) halves: Halves,
}

impl Wiring {
    /// That of a recipe.
    ///
    /// # Errors
    /// The wiring does not fit the taps and points.
    pub(crate) fn of(recipe: &Recipe) -> Result<Self, ExperimentError> {
        let topology = Topology::new(recipe)?;
        let (mut taps, mut points, mut edges) = (Vec::new(), Vec::new(), Vec::new());
        let mut injections = Vec::new();
        for edge in topology.edges() {
            let states = states_of(recipe, &edge.tap);
            let tap = Tap { name: edge.tap.to_string(), states, is_state: edge.tap.state().is_some() };
            let place = match edge.point {
                PointAddress::Input => Place::Gap(recipe.topology.stream.first_layer()),
                PointAddress::Before(layer) => Place::Gap(layer),
                PointAddress::Attention(layer) => Place::Read(layer),
                PointAddress::Inside(layer) => Place::Between(layer),
                PointAddress::After(layer) => Place::Gap(layer + 1),
            };
            let injection = recipe.topology.injection_at(edge.point);
            let acts = match injection.map(|injection| injection.of.phase) {
                None | Some(Phase::Prefill) => [true, false],
                Some(Phase::All) => [true, true],
            };
            let is_input = edge.point == PointAddress::Input;
            let mask = injection.map_or(Mask::Visual, |injection| injection.of.mask);
            // The projector of the input may read several states side by side, so none has a share of its own.
            let independent = injection.is_some_and(|of| of.of.fusion.order() == Some(FusionOrder::Parallel));
            let point = Point { name: edge.point.name(), place, acts, mask, independent };
            edges.push(Wire {
                name: edge.name(),
                tap: index_of(&mut taps, tap),
                point: index_of(&mut points, point),
                is_input,
                injection: injection.map(|injection| index_of(&mut injections, injection.prefix())),
            });
        }
        let places = points.iter().map(|point| point.place);
        let read = places.filter_map(|place| if let Place::Read(layer) = place { Some(layer) } else { None });
        let layers = 0..recipe.model.language.layers;
        let normed = layers.filter(|&layer| recipe.topology.normed_residual(layer)).collect();
        let halves = Halves { read: read.collect(), normed };
        Ok(Self { edges, taps, points, injections, halves })
    }

    /// The edges into a point, by index.
    pub(crate) fn into(&self, point: usize) -> impl Iterator<Item = usize> + '_ {
        (0..self.edges.len()).filter(move |&edge| self.edges[edge].point == point)
    }

    /// Whose a parameter is by its name: of a tap, of a point, or of both, which is an edge. Names of an injection's weights say
    /// which injection it is, what kind they are of, then the point, then the tap.
    pub(crate) fn owner(&self, param: &str) -> Owner {
        let injection = longest(param, self.injections.iter().map(String::as_str));
        let prefix = injection.map_or("injection", |injection| self.injections[injection].as_str());
        let kind_and_rest = param.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.'));
        let Some((kind, mut rest)) = kind_and_rest.and_then(|rest| rest.split_once('.')) else {
            return Owner::default();
        };
        // Connectors of the input belong to none; of a single injection nothing is told apart.
        let injection = injection.filter(|_| kind != "connector" && self.injections.len() > 1);
        let point = longest(rest, self.points.iter().map(|point| point.name.as_str()));
        if let Some(point) = point {
            rest = rest[self.points[point].name.len()..].trim_start_matches('.');
        }
        Owner { injection, tap: longest(rest, self.taps.iter().map(|tap| tap.name.as_str())), point }
    }
}

/// The taps and points whose edges a parameter acts on, of one injection where there are several; of none it is one for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Owner {
    pub(crate) injection: Option<usize>,
    pub(crate) tap: Option<usize>,
    pub(crate) point: Option<usize>,
}

impl Owner {
    /// Whether it is one for all.
    pub(crate) fn is_common(self) -> bool {
        self == Self::default()
    }

    /// Whether it acts on an edge. What is a tap's own is not the input's, whose projector it has in common with others.
    pub(crate) fn owns(self, edge: &Wire) -> bool {
        self.injection.is_none_or(|injection| edge.injection == Some(injection))
            && self.tap.is_none_or(|tap| tap == edge.tap)
            && self.point.map_or(self.is_common() || !edge.is_input, |point| point == edge.point)
    }
}

fn index_of<T: PartialEq>(all: &mut Vec<T>, one: T) -> usize {
    all.iter().position(|known| *known == one).unwrap_or_else(|| {
        all.push(one);
        all.len() - 1
    })
}

/// The longest of some dotted names that a text begins with.
fn longest<'n>(text: &str, names: impl Iterator<Item = &'n str>) -> Option<usize> {
    let begins =
        |name: &str| text.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let found = names.enumerate().filter(|(_, name)| begins(name));
    found.max_by_key(|(_, name)| name.len()).map(|(index, _)| index)
}
