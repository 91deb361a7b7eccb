//! Graphs of crossloom in luminal: the only crate that names luminal.
//!
//! - [`builder`]: run-time shaped tensors over `luminal::Graph`, one node per IR op, type rules checked.
//! - [`operator`]: the luminal operators: an IR op with its reference semantics, loads and results.
//! - [`graph`]: [`LuminalGraph`], a safe owner of a luminal graph: values by name, errors instead of panics.
//! - [`mod@lift`]: a luminal graph, of our operators or of luminal's own primitives, as an IR function.
//! - [`mod@decompose`]: an IR function as a graph of luminal's own primitives, for luminal's own CPU compiler.
//! - [`region`]: [`CrossloomCompiler`], a `luminal::Compiler` that replaces a graph by one compiled region.
//! - [`mod@describe`]: nodes renumbered for snapshots, as text and JSON.
//! - [`picture`]: boxes in the frames of their scopes, as Mermaid, DOT and SVG; of luminal graphs and of functions.
//!
//! ```
//! use crossloom_graph::{GraphBuilder, Interpreter};
//! use crossloom_ir::{Role, TensorType};
//!
//! # fn main() -> Result<(), crossloom_graph::GraphError> {
//! let mut b = GraphBuilder::new("projector");
//! let x_nd = b.param("x", Role::Input, TensorType::f32([2, 3]));
//! let w = b.param("w", Role::Weight, TensorType::f32([1, 3]));
//! let y = b.scoped("projector.linear", |b| b.linear(x_nd, w, None))?;
//! b.result("y", y);
//!
//! let mut graph = b.finish();
//! graph.set("w", &[1.0, 10.0, 100.0])?;
//! graph.set("x", &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])?;
//! graph.execute()?; // plain luminal, the reference semantics
//! assert_eq!(graph.get("y")?, [321.0, 654.0]);
//! graph.compile_region(&Interpreter)?; // one region, run by the same call
//! graph.execute()?;
//! assert_eq!(graph.get("y")?, [321.0, 654.0]);
//! # Ok(())
//! # }
//! ```
//!
//! Invariants: no function of this crate panics on bad input, whatever luminal does underneath; every listing is in a
//! fixed order that depends on the graph alone.

pub mod builder;
pub mod decompose;
pub mod describe;
pub mod error;
pub mod graph;
mod guard;
pub mod lift;
pub mod operator;
mod order;
pub mod picture;
pub mod region;
mod wiring;

pub use builder::{GraphBuilder, Tensor};
pub use decompose::decompose;
pub use describe::{NodeInfo, describe};
pub use error::{BoxError, GraphError};
pub use graph::{LuminalGraph, ParamInfo, ResultInfo};
pub use lift::{Lifted, lift};
pub use luminal;
pub use picture::{Depth, Picture};
pub use region::{
    CompiledRegion, CrossloomCompiler, Data, DataRef, DeviceRegions, Interpreter, Region, RegionCompiler,
};
