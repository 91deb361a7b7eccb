//! Graphs of crossloom in luminal: the only crate that names luminal.
//!
//! Modules, each of which uses only those before it:
//! - [`error`] what can go wrong; `guard` makes errors of panics; `order` the order of nodes; `wiring` the edges; `slots`
//!   what a graph's owner knows about its nodes.
//! - [`operator`]: the luminal operators: an IR op with its reference semantics, loads and results.
//! - [`region`]: a whole graph as one luminal node, behind two traits that a backend implements.
//! - [`mod@lift`]: a luminal graph, of our operators or of luminal's own primitives, as an IR function.
//! - [`splice`]: [`CrossloomCompiler`], a `luminal::Compiler` that lifts a graph and puts one compiled region in its place.
//! - [`mod@describe`]: nodes renumbered for snapshots, as text, JSON and pictures.
//! - [`graph`]: [`LuminalGraph`], a safe owner of a luminal graph: values by name, errors instead of panics.
//! - [`builder`]: run-time shaped tensors over `luminal::Graph`, one node per IR op, type rules checked.
//! - [`mod@decompose`]: an IR function as a graph of luminal's own primitives, for luminal's own CPU compiler.
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
pub mod region;
mod slots;
pub mod splice;
mod wiring;

pub use builder::{GraphBuilder, Tensor};
pub use decompose::decompose;
pub use describe::{NodeInfo, describe};
pub use error::{BoxError, GraphError};
pub use graph::LuminalGraph;
pub use lift::{Lifted, lift};
pub use luminal;
pub use region::{CompiledRegion, Data, DataRef, DeviceRegions, Interpreter, Region, RegionCompiler};
pub use slots::{ParamInfo, ResultInfo};
pub use splice::CrossloomCompiler;
