//! The backends: the one place outside tests that names their crates.

use crossloom_compiler::Backend;
use crossloom_cpu::exec::CpuBackend;

pub use crossloom_cpu::exec::{Executable, NonFinite, RunError, Store};
pub use crossloom_cpu::instruction_set;

/// The backend that recipes are compiled for.
pub fn backend() -> &'static dyn Backend {
    &CpuBackend
}
