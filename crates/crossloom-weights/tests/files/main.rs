//! Published files: what they hold, and what comes of it.

#![allow(clippy::unwrap_used)]

mod generation;
mod gguf;
mod onnx;
#[path = "../support/mod.rs"]
mod support;
