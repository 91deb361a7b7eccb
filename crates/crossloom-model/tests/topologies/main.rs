//! What a recipe's injection becomes: nodes, parameters, and the properties that make it the method it says it is.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod adaptation;
mod behaviour;
mod counts;
mod method_counts;
mod phases;
mod structure;
mod support;
