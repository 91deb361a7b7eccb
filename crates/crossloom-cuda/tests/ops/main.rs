//! Every op's kernels against the reference, through the shim: all forms, edge shapes, in place, in three orders of threads.

#![allow(clippy::unwrap_used, clippy::expect_used)]
#![cfg(unix)]

mod attention;
#[path = "../common/compiler.rs"]
mod compiler;
mod driver;
mod elements;
mod injection;
mod narrow;
#[path = "../common/on_gpu.rs"]
mod on_gpu;
mod rows;
mod support;
mod types;
