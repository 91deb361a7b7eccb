//! The `crossloom` program as a person or a script meets it: arguments in, text and exit codes out.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod check;
mod experiment;
mod explain;
mod graph;
mod helpers;
mod interrupt;
mod machine;
mod recipes;
mod resolve;
mod runs;
mod support;
mod usage;
