//! The compiler against the reference interpreter: passes, differentiation, training steps and memory plans.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod passes;
mod pipeline;
mod plan;
mod random_programs;
mod scale;
mod support;
mod training;
