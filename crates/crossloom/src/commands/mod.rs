//! The verbs, one file each: a struct of arguments and a function that does what they say.

pub mod chat;
pub mod check;
pub mod compile;
pub mod completions;
pub mod data;
pub mod diff;
pub mod doctor;
pub mod eval;
pub mod explain;
pub mod generate;
pub mod graph;
pub mod model;
pub mod recipe;
pub mod resolve;
pub mod run;
pub mod runs;
pub mod schema;
pub mod serve;
pub mod snapshot;
pub mod train;
pub mod verify;
