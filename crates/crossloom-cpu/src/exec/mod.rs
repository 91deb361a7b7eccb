//! Running plans on the CPU.
//!
//! [`Executable`] runs a [`Plan`](crossloom_compiler::Plan) over a [`Store`] of named weights and state. Kernels see
//! plain slices ([`Io`]); the one piece of `unsafe` is where those slices are made from the plan, which the plan
//! verifier has proved to be disjoint.

mod backend;
mod executable;
mod io;
mod memory;
mod ops;
mod store;

pub use backend::CpuBackend;
pub use executable::{Executable, NonFinite, RunError, StepTime};
pub use io::{CpuKernel, Inputs, Io, KernelError, Lowered};
pub use memory::Buffer;
pub use store::{Store, StoreError};
