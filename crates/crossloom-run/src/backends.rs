//! The backends: the one place outside tests that names their crates.

use std::sync::Arc;

use crossloom_compiler::Target;
use crossloom_cpu::{CpuDevice, CpuTarget, Isa, isa};
use crossloom_runtime::{Device, RunError};

/// The target that recipes are compiled for.
pub fn target() -> &'static dyn Target {
    &CpuTarget
}

/// The device that recipes run on.
pub fn device() -> Arc<dyn Device> {
    CpuDevice::shared()
}

/// The instruction set of the device's kernels.
///
/// # Errors
/// The environment asks for one that this machine does not have, or for none that is known.
pub fn instruction_set() -> Result<&'static str, RunError> {
    isa().map(Isa::name).map_err(|error| RunError::device("cpu", error.to_string()))
}
