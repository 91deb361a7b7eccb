//! The static graph compiler: autodiff, passes, cost model, memory planner.
//!
//! A forward [`Func`](crossloom_ir::Func) becomes a training function ([`training`]), runs through the passes in order
//! ([`passes`]) and is laid out in memory ([`plan`]). Nothing here runs anything: a [`Backend`] says which kernels it
//! has, and an executor outside this crate runs the [`Plan`].

pub mod autodiff;
pub mod backend;
pub mod explain;
pub mod passes;
pub mod pipeline;
pub mod plan;
pub mod training;

pub use backend::{Backend, Kernel, NullBackend};
pub use passes::precision::{Policy, Precision};
pub use pipeline::{Compiled, CompiledSet, Mode, Options, compile, compile_as};
pub use plan::Plan;
