//! What every op promises: its gradient is the slope of its reference semantics, its expansion ends in primitives and
//! computes the same, its attributes read back, and wrong operands are named.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod attention;
mod cache;
mod deformable;
mod elementwise;
mod fused;
mod inject;
mod loss;
mod norm;
mod optim;
mod registry;
mod robust;
mod rows;
mod shapes;
mod support;
