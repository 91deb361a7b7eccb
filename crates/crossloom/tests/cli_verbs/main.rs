//! The `crossloom` program as a person or a script meets it: arguments in, text and exit codes out.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bounds;
mod check;
mod diff;
mod documents;
mod experiment;
mod explain;
#[cfg(unix)]
mod gpu;
mod graph;
mod helpers;
mod interrupt;
mod killed;
mod machine;
mod memory;
mod models;
mod moved;
mod prompts;
mod recipes;
mod resolve;
mod runs;
mod samples;
mod serve;
mod snapshot;
mod stages;
mod stale;
mod support;
mod sweeps;
mod usage;
mod verify;
