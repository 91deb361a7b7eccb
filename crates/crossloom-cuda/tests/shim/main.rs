//! The shim computes what kernels say, and reports what they must not do.

#![allow(clippy::unwrap_used, clippy::expect_used)]
#![cfg(unix)]

mod faults;
mod primitives;
mod support;
