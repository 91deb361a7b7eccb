//! What one key alone cannot tell: dimensions that must fit each other, topologies that must be whole.

mod connector;
mod data;
mod injection;
mod model;
mod paths;
mod stages;
mod topology;
mod training;

pub(crate) use stages::check_stages;

use crate::decode::Cx;
use crate::schema::{
    Data, Eval, LanguageModel, PretrainedWeights, Projector, TopologySpec, Train, VisionModel,
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
        topology::wiring(root, topology, cx);
        injection::input(root, topology, cx);
        connector::connector(root, topology, sections, cx);
        injection::sources(root, topology, cx);
        injection::fusion(root, topology, cx);
        injection::stretch(root, topology, cx);
        injection::against_model(root, topology, sections.vision, sections.language, cx);
        if let Some(projector) = sections.projector {
            injection::adapter(root, topology, projector, cx);
        }
        if let Some(data) = sections.data {
            topology::against_data(root, topology, data, cx);
        }
    }
    if let (Some(vision), Some(data)) = (sections.vision, sections.data) {
        data::pictures(root, vision, sections.topology, data, cx);
    }
    training::training(root, sections, cx);
    paths::paths(root, sections, cx);
}
