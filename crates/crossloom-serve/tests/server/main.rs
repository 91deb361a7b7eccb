//! A server on real sockets, as its clients meet it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod answers;
mod connections;
mod fuzz;
mod refusals;
mod streams;
mod support;
mod trials;
