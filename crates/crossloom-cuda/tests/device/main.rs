//! CUDA as a device, on a driver without a GPU: the suite of sessions, and whole training steps beside the CPU.

#![allow(clippy::unwrap_used, clippy::expect_used)]
#![cfg(unix)]

#[path = "../common/compiler.rs"]
mod compiler;
#[path = "../common/on_gpu.rs"]
mod on_gpu;
mod sessions;
mod steps;
#[path = "../../../crossloom-cpu/tests/support/mod.rs"]
mod support;
