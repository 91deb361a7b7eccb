//! Graphs for readers and snapshots: nodes renumbered in visiting order, so that the listing depends on the graph
//! alone and not on how its indices came about.

mod text;

use std::collections::BTreeMap;

use crossloom_picture::{Depth, Kind, Node, Picture};
use luminal::op::{Constant, Function};
use luminal::prelude::{Graph, NodeIndex, ShapeTracker};
use serde::Serialize;

use crate::operator::{IrOperator, Load, Output};
use crate::region::RegionOperator;
use crate::slots::Hints;
use crate::wiring::{self, is_plain};
use crate::{lift, order};

/// What a node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// Data given at every run.
    Input,
    /// A model parameter.
    Weight,
    /// Other memory that lives between runs.
    State,
    /// An operator.
    #[default]
    Op,
    /// A number of luminal's.
    Constant,
    /// A compiled region.
    Region,
    /// A retrieved output.
    Result,
}

impl NodeKind {
    /// What its box looks like.
    fn drawn(self) -> Kind {
        match self {
            Self::Input => Kind::Given,
            Self::Weight | Self::State => Kind::Kept,
            Self::Op | Self::Constant => Kind::Op,
            Self::Region => Kind::Region,
            Self::Result => Kind::Result,
        }
    }
}

/// An operand of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InputInfo {
    /// The node it comes from, renumbered.
    pub index: usize,
    /// Which output of that node.
    pub output: usize,
    /// How it is viewed, where that is not plain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub view: Option<String>,
}

/// A node of a graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeInfo {
    /// Number in visiting order: sources first, then order of building.
    pub index: usize,
    /// What it is.
    pub kind: NodeKind,
    /// The op with its attributes; of a parameter or result, its name.
    pub op: String,
    /// Dotted path of the part of the model it belongs to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// Operands in order.
    pub inputs: Vec<InputInfo>,
    /// Types of its outputs, as printed by the IR; empty where they cannot be found out.
    pub shapes: Vec<String>,
}

/// A described graph, to be printed.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Described {
    pub(crate) name: String,
    pub(crate) nodes: Vec<NodeInfo>,
}

/// Describes any luminal graph; nodes of a cyclic one are listed by their index.
pub fn describe(graph: &Graph) -> Vec<NodeInfo> {
    describe_graph(graph, "luminal", &Hints::default()).nodes
}

pub(crate) fn describe_graph(graph: &Graph, name: &str, hints: &Hints) -> Described {
    let order = order::topological(&graph.graph).unwrap_or_else(|_| graph.graph.node_indices().collect());
    let numbers: BTreeMap<NodeIndex, usize> =
        order.iter().enumerate().map(|(number, &node)| (node, number)).collect();
    let types = lift::types(graph, hints);
    let nodes = order.iter().enumerate().map(|(index, &node)| {
        let inputs = wiring::sources(&graph.graph, node).into_iter().map(|source| InputInfo {
            index: numbers.get(&source.node).copied().unwrap_or_default(),
            output: usize::from(source.output),
            view: view_text(source.tracker),
        });
        let known = types.range((node, 0)..=(node, u8::MAX)).map(|(_, ty)| ty.to_string()).collect();
        let mut info = NodeInfo {
            index,
            kind: NodeKind::Op,
            op: String::new(),
            scope: String::new(),
            inputs: inputs.collect(),
            shapes: known,
        };
        fill(&mut info, graph, node, hints);
        info
    });
    Described { name: name.to_owned(), nodes: nodes.collect() }
}

fn fill(info: &mut NodeInfo, graph: &Graph, node: NodeIndex, hints: &Hints) {
    let Some(operator) = graph.graph.node_weight(node).map(AsRef::as_ref) else { return };
    let any = operator.as_any();
    info.op = format!("{operator:?}");
    let named = hints.results.iter().find(|slot| slot.node == node);
    if let Some(load) = any.downcast_ref::<Load>() {
        (info.kind, info.op) = (kind_of(load.role()), load.name().to_owned());
        info.shapes = vec![load.ty().to_string()];
    } else if let Some(param) = hints.params.get(&node) {
        (info.kind, info.op) = (kind_of(param.role), param.name.clone());
        info.shapes = vec![param.ty.to_string()];
    } else if any.is::<Function>() {
        info.kind = NodeKind::Input;
    } else if any.is::<Constant>() {
        info.kind = NodeKind::Constant;
    } else if let Some(op) = any.downcast_ref::<IrOperator>() {
        op.scope().as_str().clone_into(&mut info.scope);
        info.shapes = op.outputs().iter().map(ToString::to_string).collect();
    } else if let Some(region) = any.downcast_ref::<RegionOperator>() {
        info.kind = NodeKind::Region;
        info.shapes = region.outputs().iter().map(ToString::to_string).collect();
    } else if let Some(output) = any.downcast_ref::<Output>() {
        info.kind = NodeKind::Result;
        info.op =
            output.updates().map_or_else(|| output.name().to_owned(), |param| format!("update {param}"));
        info.shapes = output.types().iter().map(ToString::to_string).collect();
    } else if let Some(slot) = named {
        (info.kind, info.op) = (NodeKind::Result, slot.info.name.clone());
    }
}

fn kind_of(role: crossloom_ir::Role) -> NodeKind {
    match role {
        crossloom_ir::Role::Input => NodeKind::Input,
        crossloom_ir::Role::Weight => NodeKind::Weight,
        crossloom_ir::Role::State => NodeKind::State,
    }
}

/// `perm`, repeated axes, slices and padding of a view, in that order; nothing for a plain one.
fn view_text(tracker: &ShapeTracker) -> Option<String> {
    if is_plain(tracker) {
        return None;
    }
    let show = |at: &usize| {
        let (dim, pad, slice) = (tracker.dims.get(*at)?, tracker.padding.get(*at)?, tracker.slices.get(*at)?);
        let mut axis =
            if tracker.fake.get(*at) == Some(&true) { format!("x{dim:?}") } else { format!("{at}:{dim:?}") };
        if *pad != (0.into(), 0.into()) {
            axis += &format!(" pad {:?}+{:?}", pad.0, pad.1);
        }
        if *slice != (0.into(), i32::MAX.into()) {
            axis += &format!(" cut {:?}..{:?}", slice.0, slice.1);
        }
        Some(axis)
    };
    let axes: Vec<String> = tracker.indexes.iter().filter_map(show).collect();
    Some(format!("[{}]", axes.join(", ")))
}

impl Described {
    pub(crate) fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }

    /// The picture of the graph.
    pub(crate) fn picture(&self, depth: Depth) -> Picture {
        let nodes: Vec<Node> = (self.nodes.iter())
            .map(|node| Node {
                kind: node.kind.drawn(),
                label: node.op.clone(),
                types: node.shapes.clone(),
                scope: node.scope.clone(),
                inputs: node.inputs.iter().map(|input| (input.index, input.output)).collect(),
                ..Node::default()
            })
            .collect();
        Picture::of_nodes(&self.name, &nodes, depth)
    }
}
