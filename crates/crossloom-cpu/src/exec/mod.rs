//! The CPU as a device.
//!
//! [`CpuDevice`] makes plans ready and gives queues; a queue runs at once what it is given. Kernels see plain typed
//! slices; the one piece of `unsafe` is where those slices are made from a plan. Plans can be made by anybody, so a
//! program is made only of a [`VerifiedPlan`](crossloom_runtime::VerifiedPlan), whose values are proved to be disjoint,
//! and is bound only to memory of the queue that runs it, each piece once.

mod device;
mod io;
mod memory;
mod ops;
mod program;
mod target;

pub use device::CpuDevice;
pub use target::CpuTarget;
