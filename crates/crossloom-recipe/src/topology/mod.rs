//! The injection topology as a bipartite graph of taps and points, and its pictures.

mod describe;
mod dot;
mod graph;
mod json;
mod mermaid;
mod svg;
mod text;

pub use graph::{Edge, EdgeKind, Node, Topology, TopologyError};
pub use svg::EdgeWeights;
