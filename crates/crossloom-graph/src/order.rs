//! The order in which nodes are visited everywhere, sources first, smaller node index first; and how nodes are called in
//! errors.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use crossloom_ir::{IrError, IrErrors};
use luminal::prelude::petgraph::Direction;
use luminal::prelude::{MainGraph, NodeIndex};

/// All nodes, each after its sources, the smallest index first among those that are ready. For a graph that was built
/// in order this is the order of building.
///
/// # Errors
/// The nodes that can never be ready: those on a cycle and those behind one.
pub(crate) fn topological(graph: &MainGraph) -> Result<Vec<NodeIndex>, Vec<NodeIndex>> {
    let slots = graph.node_indices().map(|node| node.index() + 1).max().unwrap_or(0);
    let mut waiting = vec![0_usize; slots];
    let mut ready = BinaryHeap::new();
    for node in graph.node_indices() {
        waiting[node.index()] = graph.neighbors_directed(node, Direction::Incoming).count();
        if waiting[node.index()] == 0 {
            ready.push(Reverse(node));
        }
    }
    let mut order = Vec::with_capacity(graph.node_count());
    while let Some(Reverse(node)) = ready.pop() {
        order.push(node);
        for target in graph.neighbors_directed(node, Direction::Outgoing) {
            waiting[target.index()] -= 1;
            if waiting[target.index()] == 0 {
                ready.push(Reverse(target));
            }
        }
    }
    if order.len() == graph.node_count() {
        return Ok(order);
    }
    let seen: BTreeSet<NodeIndex> = order.into_iter().collect();
    Err(graph.node_indices().filter(|node| !seen.contains(node)).collect())
}

/// The error of a graph whose nodes wait for each other.
pub(crate) fn cycle(graph: &MainGraph, nodes: &[NodeIndex]) -> IrErrors {
    let shown: Vec<String> = nodes.iter().take(8).map(|&node| label(graph, node)).collect();
    let more = if nodes.len() > shown.len() { ", …" } else { "" };
    IrErrors::from(IrError::new(format!("these nodes wait for each other: {}{more}", shown.join(", "))))
}

/// A node in words: what it is, and its index.
pub(crate) fn label(graph: &MainGraph, node: NodeIndex) -> String {
    let text =
        graph.node_weight(node).map_or_else(|| "missing".to_owned(), |operator| format!("{operator:?}"));
    format!("{text} (node {})", node.index())
}
