//! The CPU backend computes what the reference interpreter computes: single ops, random element-wise programs, and a
//! training step of every shipped recipe.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod compare;
mod models;
mod nan;
mod ops;
mod optional;
mod phases;
mod programs;
#[path = "../support/mod.rs"]
mod support;
mod types;
