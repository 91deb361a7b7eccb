//! The CPU as a device: sessions, plans that it refuses, weights in files.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod mapped_weights;
mod refused_plans;
mod sessions;
