//! crossloom as a library: from recipes to runs, and the command line around it.
//!
//! ```text
//! main ─▶ cli (verbs, errors, terminal) ─▶ commands (one file per verb) ─▶ stages      what a recipe becomes
//!                                                                     └──▶ experiment  what a run does
//! ```
//!
//! - [`cli`]: what can be typed, how it ends, how it is said.
//! - [`commands`]: the verbs, each a struct of arguments and a function.
//! - [`stages`]: a recipe as topology, luminal graph, IR, fused IR and plan; what it costs. Nothing is run.
//! - [`experiment`]: data, training, evaluation, comparison, report.
//! - [`progress`]: how a run is shown while it goes.
//! - [`machine`]: what it runs on.

pub mod cli;
pub mod commands;
pub mod experiment;
pub mod machine;
pub mod progress;
pub mod stages;
