//! The models of shipped recipes: computed in four ways, and as pictures.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod four_ways;
mod pictures;
#[path = "../shipped/mod.rs"]
mod shipped;
#[path = "../xml/mod.rs"]
mod xml;
