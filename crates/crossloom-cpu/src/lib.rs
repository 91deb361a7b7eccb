//! The CPU backend of crossloom: vectorised, deterministic kernels over plain `f32` slices.
//!
//! * [`kernels`]: matrix products with fused epilogues, attention, norms, element-wise programs, losses, row
//!   moves, pooling, injection and the optimizer, each with its gradient.
//! * `math`: the vectorised elementary functions they share, with stated errors.
//! * [`exec`]: the device: plans bound to memory and run.
//!
//! Three rules hold for every kernel. It allocates nothing: scratch memory comes from the caller. Its result does
//! not depend on the number of threads: work is cut into chunks that depend on the shapes alone, and every sum has
//! one fixed order. It never panics on bad input: shapes and indices are checked first and reported as a
//! [`KernelError`](kernels::KernelError).
//!
//! The instruction set (AVX-512, perhaps with AMX, AVX2 with FMA, NEON, or plain code) is chosen at run time.
#![allow(
    clippy::inline_always,
    reason = "kernels must be inlined into the function that enables the instruction set, or they are compiled without it"
)]

pub mod exec;
pub mod kernels;

mod amx;
mod element;
mod isa;
mod lane_sums;
mod math;
mod parallel;
mod prefetch;
mod simd;

pub use element::{Element, Floats, FloatsMut};
pub use exec::{CpuDevice, CpuTarget};
pub use isa::{Isa, IsaError, isa};
