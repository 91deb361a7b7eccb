//! What one key alone cannot tell: dimensions that must fit each other, topologies that must be whole.

mod adapter;
mod anyres;
mod connector;
mod conversations;
mod data;
mod injection;
mod model;
mod paths;
mod stages;
mod topology;
mod training;
mod wiring;

pub(crate) use stages::check_stages;

use crate::decode::{Cx, seen_by};
use crate::schema::{
    Data, Eval, Injection, LanguageModel, PretrainedWeights, Projector, TopologySpec, Train, VisionModel,
};
use crate::tree::Node;

/// What could be read of a recipe.
pub(crate) struct Sections<'s> {
    pub(crate) vision: Option<&'s VisionModel>,
    pub(crate) language: Option<&'s LanguageModel>,
    pub(crate) projector: Option<&'s Projector>,
    pub(crate) weights: Option<&'s PretrainedWeights>,
    pub(crate) topology: Option<&'s TopologySpec>,
    pub(crate) data: Option<&'s Data>,
    pub(crate) train: Option<&'s Train>,
    pub(crate) eval: Option<&'s Eval>,
}

/// Checks everything that could be read.
pub(crate) fn check(root: &Node, sections: &Sections<'_>, cx: &mut Cx) {
    model::vision(root, cx);
    model::language(root, cx);
    model::room(root, sections.language.map(|language| language.max_positions), cx);
    if let Some(topology) = sections.topology {
        topology::input(root, topology, cx);
        topology::sources(root, topology, cx);
        topology::injections(root, topology, cx);
        connector::connector(root, topology, sections, cx);
        if let Some(vision) = sections.vision {
            topology::against_vision(root, topology, vision, cx);
        }
        if let Some(projector) = sections.projector {
            adapter::input(root, topology, projector, cx);
        }
        injection(root, topology, &topology.main, sections, cx);
        for (name, of) in topology.named.iter().filter(|(_, of)| !of.taps.is_empty() || !of.points.is_empty())
        {
            let tree = seen_by(root, name);
            cx.injection(name, |cx| injection(&tree, topology, of, sections, cx));
        }
    }
    if let Some(data) = sections.data {
        data::tokenizer(root, data, cx);
    }
    if let (Some(vision), Some(data)) = (sections.vision, sections.data) {
        data::pictures(root, vision, sections.topology, data, cx);
    }
    anyres::anyres(root, sections, cx);
    conversations::conversations(root, sections, cx);
    training::training(root, sections, cx);
    paths::paths(root, sections, cx);
}

/// Checks an injection, of which the tree says in `[topology]` what it says.
fn injection(root: &Node, topology: &TopologySpec, of: &Injection, sections: &Sections<'_>, cx: &mut Cx) {
    wiring::wiring(root, of, cx);
    injection::fusion(root, topology, of, cx);
    injection::stretch(root, topology, of, cx);
    injection::against_model(root, topology, of, sections.vision, sections.language, cx);
    if let Some(projector) = sections.projector {
        adapter::adapter(root, topology, of, projector, cx);
    }
    if let Some(data) = sections.data {
        wiring::against_data(root, of, data, cx);
    }
}
