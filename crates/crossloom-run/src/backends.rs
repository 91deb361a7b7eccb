//! The backends: the one place outside tests that names their crates.

use std::sync::Arc;

use crossloom_compiler::Target;
use crossloom_cpu::{CpuDevice, CpuTarget};
use crossloom_runtime::Device;

pub use crossloom_cpu::instruction_set;

/// The target that recipes are compiled for.
pub fn target() -> &'static dyn Target {
    &CpuTarget
}

/// The device that recipes run on.
pub fn device() -> Arc<dyn Device> {
    CpuDevice::shared()
}
