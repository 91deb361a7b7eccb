//! What runs plans: devices, sessions over stores of named tensors, and how much memory there is.
//!
//! This crate knows no kernel. A device brings its own; everything else here is the same on all of them.

pub mod limits;
