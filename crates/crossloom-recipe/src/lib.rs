//! Recipes: TOML to a resolved, checked [`Recipe`] and its injection [`Topology`].
//!
//! ```text
//! file ─ parse ─▶ spanned tree ─ extends, presets, variants, sweep, --set ─▶ merged trees ─ decode, check ─▶ Recipe
//! ```
//!
//! - [`load`] reads a file and reports *all* errors at once, each with file, line, caret and a hint ([`Diagnostics`]).
//! - A [`LoadedRecipe`] has one [`Variant`] per run; every value knows its origin ([`Provenance`]).
//! - [`Topology`] is the graph of taps and points, with a stable name for every edge.
//! - [`json_schema`] describes recipe files to editors.
//!
//! This crate knows no tensor, no graph of operations and no file of weights.

#![allow(
    clippy::option_option,
    reason = "the outer option says whether a key could be read, the inner one whether it is written"
)]

mod check;
mod decode;
mod diagnostic;
mod hash;
mod json_schema;
mod load;
mod preset;
mod provenance;
pub mod schema;
pub mod selection;
pub mod topology;
mod tree;

pub use diagnostic::{Diagnostic, Diagnostics, Location, Severity};
pub use json_schema::json_schema;
pub use load::{
    LoadOptions, LoadedRecipe, ReadArchitecture, Variant, load, load_text, load_text_with, load_with,
};
pub use provenance::{Origin, Provenance};
pub use schema::*;
pub use selection::{Selection, TensorGroup};
pub use topology::{Edge, EdgeKind, Topology, TopologyError};
