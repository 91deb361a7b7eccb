//! The shim computes what kernels say, and reports what they must not do.

#![allow(clippy::unwrap_used, clippy::expect_used)]
#![cfg(unix)]

#[path = "../common/compiler.rs"]
mod compiler;
mod faults;
#[path = "../common/on_gpu.rs"]
mod on_gpu;
mod primitives;
mod support;
