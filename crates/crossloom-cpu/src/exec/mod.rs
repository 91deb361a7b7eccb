//! Running plans on the CPU.
//!
//! [`Executable`] runs a [`Plan`](crossloom_compiler::Plan) over a [`Store`] of named weights and state. Kernels see
//! plain slices; the one piece of `unsafe` is where those slices are made from the plan. Plans can be made by anybody, so
//! [`Executable::new`] has the plan verifier prove that they are disjoint, and runs on the store it was made for only.

mod backend;
mod error;
mod executable;
mod io;
mod memory;
mod ops;
mod store;

pub use backend::CpuBackend;
pub use error::RunError;
pub use executable::{Executable, NonFinite, StepTime};
pub use memory::Buffer;
pub use store::{Store, StoreError};
