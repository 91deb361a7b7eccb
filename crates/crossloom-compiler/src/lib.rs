//! The static graph compiler: autodiff, passes, cost model, memory planner.
//!
//! A forward [`Func`](crossloom_ir::Func) becomes a training function ([`training`]), runs through the passes in order
//! ([`passes`]) and is laid out in memory ([`plan`]). Nothing here runs anything: a [`Target`] says which kernels it
//! has, and a device outside this crate runs the [`Plan`].

pub mod autodiff;
pub mod context;
pub mod explain;
pub mod passes;
pub mod pipeline;
pub mod plan;
pub mod target;
pub mod training;

pub use context::{Context, Mode};
pub use passes::precision::{Policy, Precision};
pub use pipeline::{Compiled, CompiledSet, compile};
pub use plan::Plan;
pub use target::{Kernel, NullTarget, Target};
