//! The command line around `crossloom-run`.
//!
//! - [`cli`]: what can be typed, how it ends, how it is said.
//! - [`commands`]: the verbs, each a struct of arguments and a function.
//! - [`progress`]: how a run is shown while it goes.

pub mod cli;
pub mod commands;
pub mod progress;
