//! Recipes as they are read: layers, schema, stages, groups, and those that are shipped.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod loading;
mod robustness;
mod schema;
mod selection;
mod shipped;
mod stages;
#[path = "../support/mod.rs"]
mod support;
mod weights;
