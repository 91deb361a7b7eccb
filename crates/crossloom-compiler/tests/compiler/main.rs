//! The compiler against the reference interpreter: passes, differentiation, training steps and memory plans.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../../crossloom-cpu/tests/support/counting.rs"]
mod counting;
mod passes;
mod pipeline;
mod plan;
mod random_programs;
mod scale;
mod support;
mod training;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;
