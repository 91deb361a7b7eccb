//! CUDA: what a machine has of it, and kernels on the processor.
//!
//! * [`probe`](mod@probe) looks for the driver and for NVIDIA's libraries, says where they are, which versions they have and what
//!   they lack, and lists the devices. Nothing is linked: one program runs with and without a GPU, and nothing here panics
//!   because a library or a function of it is not there.
//! * [`shim`] builds CUDA C with the system's C++ compiler and runs it, so that kernels are tested where there is no GPU.

mod geometry;
pub mod probe;
pub mod shim;

pub use geometry::Geometry;
