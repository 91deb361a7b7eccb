//! Pictures of boxes and edges: Mermaid, DOT and SVG of anything that can be said in plain nodes.
//!
//! A [`Picture`] is boxes in nested frames, edges between them and a title. It is made in one of two ways:
//! - [`Picture::of_nodes`]: the nodes of a graph, a function or a plan in the frames of their scopes, from one box per
//!   node to one per part of the whole. Drawn in layers, each below what it reads.
//! - [`Picture::of_columns`]: two columns of boxes and the edges from the left one to the right one, as of a topology.
//!
//! This crate knows no recipe, no graph and no function: whoever has one says what its nodes are. A picture depends on
//! what it is given alone, byte for byte.

mod columns;
mod dot;
mod mermaid;
mod scopes;
mod svg;
mod tree;

pub use columns::{Column, Columns, Link, Plate};
pub use scopes::{Depth, Node};

use tree::Tree;

/// What a box stands for; decides its shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Data that is given.
    Given,
    /// Something that is kept between runs, such as a weight. Among the nodes of a graph it is not drawn.
    Kept,
    /// A step of the computation.
    #[default]
    Op,
    /// Many steps behind one door.
    Region,
    /// What comes out.
    Result,
}

/// Boxes, the frames around them, and edges.
#[derive(Clone, Debug)]
pub struct Picture {
    title: String,
    arrangement: Arrangement,
    boxes: Vec<Cell>,
    edges: Vec<Edge>,
    tree: Tree,
    /// Lines below the drawing; only columns have them.
    notes: Vec<String>,
}

/// Where boxes lie, and which way the picture is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrangement {
    /// From top to bottom, each box below what it reads.
    Layers,
    /// Two columns, read from left to right.
    Columns,
}

/// A box.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cell {
    kind: Kind,
    title: String,
    /// Below the title.
    lines: Vec<String>,
    /// The part of the picture that it is drawn in.
    section: Option<String>,
    /// Frames around it, from the outermost.
    path: Vec<String>,
    /// Colour of its ground, as CSS has it.
    tint: String,
}

/// A line from box to box.
#[derive(Clone, Debug, PartialEq)]
struct Edge {
    from: usize,
    to: usize,
    /// A name by which others speak of this edge.
    name: Option<String>,
    /// Written beside it.
    label: Option<String>,
    /// Said when one points at it.
    tip: String,
    /// Stands out among the others.
    strong: bool,
    width: f64,
    opacity: f64,
    /// Of two that cross, the greater lies on top.
    rank: f64,
    /// A colour of its own, as CSS has it.
    tint: Option<String>,
    dashed: bool,
}

impl Picture {
    /// The same under another title.
    #[must_use]
    pub fn titled(mut self, title: &str) -> Self {
        title.clone_into(&mut self.title);
        self
    }

    /// How many boxes it has.
    pub fn boxes(&self) -> usize {
        self.boxes.len()
    }
}
