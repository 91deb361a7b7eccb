//! The injection topology as a bipartite graph of taps and points, and its pictures.

mod describe;
mod graph;
mod json;
mod picture;
mod text;

pub use graph::{Edge, EdgeKind, Node, Topology, TopologyError};
pub use picture::EdgeWeights;
