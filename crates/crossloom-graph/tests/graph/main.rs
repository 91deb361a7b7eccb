//! What is true of graphs: see each module.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod broken;
mod common;
mod compiler;
mod decompose;
mod describe;
mod device;
mod four_ways;
mod layers;
mod limits;
mod native;
mod ops;
mod picture;
mod round_trip;
mod values;
mod views;
