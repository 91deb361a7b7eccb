//! Edges of a luminal graph: sources in operand order, shape trackers, and an order luminal can execute.

use luminal::prelude::petgraph::Direction;
use luminal::prelude::petgraph::visit::EdgeRef;
use luminal::prelude::{Dependency, Graph, MainGraph, NodeIndex, ShapeTracker};

use crate::{GraphError, guard, order};

/// luminal numbers the inputs and outputs of a node with 8 bits.
pub(crate) const MAX_EDGES: usize = 256;
/// Axes a shape tracker holds.
pub(crate) const MAX_AXES: usize = 6;

/// One data edge into a node, seen from the node.
#[derive(Clone, Copy)]
pub(crate) struct Source<'g> {
    /// Position among the operands.
    pub(crate) order: u8,
    /// Where the data comes from.
    pub(crate) node: NodeIndex,
    /// Which output of that node.
    pub(crate) output: u8,
    /// How the data is viewed.
    pub(crate) tracker: &'g ShapeTracker,
}

/// The data edges into `node`, in operand order.
pub(crate) fn sources(graph: &MainGraph, node: NodeIndex) -> Vec<Source<'_>> {
    let edges = graph.edges_directed(node, Direction::Incoming);
    let mut sources: Vec<Source<'_>> = edges
        .filter_map(|edge| match edge.weight() {
            Dependency::Data { input_order, output_order, shape } => Some(Source {
                order: *input_order,
                node: edge.source(),
                output: *output_order,
                tracker: shape,
            }),
            Dependency::Schedule => None,
        })
        .collect();
    sources.sort_by_key(|source| (source.order, source.node, source.output));
    sources
}

/// Adds a data edge.
pub(crate) fn connect(
    graph: &mut Graph,
    (from, output): (NodeIndex, u8),
    (to, order): (NodeIndex, u8),
    tracker: &ShapeTracker,
) {
    let edge = Dependency::Data { input_order: order, output_order: output, shape: *tracker };
    graph.graph.add_edge(from, to, edge);
}

/// Whether luminal's tracker can hold that shape.
pub(crate) fn fits(shape: &[usize]) -> bool {
    shape.len() <= MAX_AXES && shape.iter().all(|&extent| i32::try_from(extent).is_ok())
}

/// The tracker of a contiguous tensor. Our operators know their shapes themselves, so a shape that luminal cannot hold
/// is given as one flat axis.
pub(crate) fn tracker(shape: &[usize]) -> ShapeTracker {
    if fits(shape) {
        let dims: Vec<_> = shape.iter().map(|&extent| extent.into()).collect();
        ShapeTracker::new(&dims)
    } else {
        let elements: usize = shape.iter().product();
        ShapeTracker::new(&[elements.into()])
    }
}

/// Whether a tracker shows the buffer as it lies in memory.
pub(crate) fn is_plain(tracker: &ShapeTracker) -> bool {
    tracker.is_contiguous() && !tracker.is_sliced() && !tracker.is_padded()
}

/// Reorders edges so that luminal counts consumers rightly, then refreshes its execution order.
///
/// luminal 0.2.0 counts the consumers of an output over *runs* of a node's outgoing edges; where edges of two outputs
/// interleave it miscounts and frees a tensor too early.
///
/// # Errors
/// The graph has a cycle.
pub(crate) fn refresh(graph: &mut Graph) -> Result<(), GraphError> {
    group_outgoing(&mut graph.graph);
    order::topological(&graph.graph).map_err(|nodes| order::cycle(&graph.graph, &nodes))?;
    guard::catch("sorting the graph", || graph.compile((), ()))
}

fn group_outgoing(graph: &mut MainGraph) {
    let nodes: Vec<NodeIndex> = graph.node_indices().collect();
    for node in nodes {
        let edges = graph.edges_directed(node, Direction::Outgoing);
        let runs: Vec<_> = edges.map(|edge| (output_of(edge.weight()), edge.id())).collect();
        if runs.windows(2).all(|pair| pair[0].0 >= pair[1].0) {
            continue;
        }
        let mut taken: Vec<(NodeIndex, Dependency)> = Vec::with_capacity(runs.len());
        for (_, edge) in runs {
            let ends = graph.edge_endpoints(edge);
            if let (Some((_, target)), Some(weight)) = (ends, graph.remove_edge(edge)) {
                taken.push((target, weight));
            }
        }
        taken.sort_by_key(|(target, weight)| (output_of(weight), *target));
        for (target, weight) in taken {
            graph.add_edge(node, target, weight);
        }
    }
}

fn output_of(edge: &Dependency) -> Option<u8> {
    match edge {
        Dependency::Data { output_order, .. } => Some(*output_order),
        Dependency::Schedule => None,
    }
}
