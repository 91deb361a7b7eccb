//! Pictures of graphs: nodes in the boxes of their scopes, from every node down to one box per part of the model.
//!
//! A [`Picture`] is made of plain [`Node`]s, whatever they come from: a luminal graph, a function of the IR ([`func_nodes`]), a
//! plan. A box stands for one node, or, below a [`Depth`], for all nodes of a scope; an edge between two boxes carries
//! every value that one computes and the other reads. Weights and state are not drawn: they would drown everything else.
//!
//! Boxes are in the order of their middle nodes, so a picture depends on its nodes alone.

mod dot;
mod func;
mod group;
mod mermaid;
mod svg;
mod tree;

pub use func::func_nodes;

use crate::describe::NodeKind;
use tree::Tree;

/// How much of a graph is drawn as one box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Every node is a box.
    Nodes,
    /// A box for each scope, told apart by so many parts of the path.
    Scopes(usize),
}

/// A node to be drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// What it is; decides the shape.
    pub kind: NodeKind,
    /// What is written on it.
    pub label: String,
    /// Types of its outputs.
    pub types: Vec<String>,
    /// Dotted path of the part of the model it belongs to.
    pub scope: String,
    /// A part of the whole that is drawn below the others, such as the gradients of a training step.
    pub section: Option<String>,
    /// The values it reads, each a node and one of its outputs.
    pub inputs: Vec<(usize, usize)>,
    /// Bytes of each output, where they are known.
    pub bytes: Vec<u64>,
}

/// A box: one node, or all nodes of a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cell {
    kind: NodeKind,
    title: String,
    lines: Vec<String>,
    section: Option<String>,
    /// Frames around it, from the outermost.
    path: Vec<String>,
}

/// Values that go from one box to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Edge {
    from: usize,
    to: usize,
    /// How many values.
    values: usize,
    /// Their bytes, where known.
    bytes: u64,
}

/// Boxes, the frames around them, and edges.
#[derive(Clone, Debug)]
pub struct Picture {
    title: String,
    cells: Vec<Cell>,
    edges: Vec<Edge>,
    tree: Tree,
}

impl Picture {
    /// The picture of nodes, which read only nodes of the same list.
    pub fn new(title: &str, nodes: &[Node], depth: Depth) -> Self {
        let (cells, edges) = group::group(nodes, depth);
        let tree = Tree::of(&cells);
        Self { title: title.to_owned(), cells, edges, tree }
    }

    /// The same under another title.
    #[must_use]
    pub fn titled(mut self, title: &str) -> Self {
        title.clone_into(&mut self.title);
        self
    }

    /// How many boxes it has.
    pub fn boxes(&self) -> usize {
        self.cells.len()
    }
}

impl Edge {
    /// What is written beside it: nothing for one value of unknown size.
    fn label(&self) -> Option<String> {
        match (self.values, self.bytes) {
            (..=1, 0) => None,
            (values, 0) => Some(values.to_string()),
            (..=1, bytes) => Some(size(bytes)),
            (values, bytes) => Some(format!("{values} · {}", size(bytes))),
        }
    }
}

/// A number of bytes as people read it.
fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in units {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    if unit == "B" || value >= 100.0 { format!("{value:.0} {unit}") } else { format!("{value:.1} {unit}") }
}
