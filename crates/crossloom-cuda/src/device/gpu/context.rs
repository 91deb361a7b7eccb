//! A device's context, and the driver's errors in words.

use std::sync::Arc;

use cudarc::driver::{DriverError, result, sys};

/// What a call of the driver's interface gave; an error names the function and says what the driver calls it.
pub(super) fn told<T>(function: &str, result: Result<T, DriverError>) -> Result<T, String> {
    result.map_err(|error| {
        let name = error.error_name().map_or("an unknown error".into(), |name| name.to_string_lossy());
        format!("{function}: {name}")
    })
}

/// The primary context of a device, which libraries of one process share.
#[derive(Debug)]
pub(super) struct Context {
    device: sys::CUdevice,
    raw: sys::CUcontext,
}

// SAFETY: a context is a handle that the driver lets any thread use; it is never written here.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    /// The context of the device of that number. The driver was started.
    pub(super) fn of(ordinal: i32) -> Result<Arc<Self>, String> {
        let device = told("cuDeviceGet", result::device::get(ordinal))?;
        // SAFETY: the device is one that the driver just gave.
        let raw = told("cuDevicePrimaryCtxRetain", unsafe { result::primary_ctx::retain(device) })?;
        Ok(Arc::new(Self { device, raw }))
    }

    /// Makes it the context of this thread, which every other call needs.
    pub(super) fn enter(&self) -> Result<(), String> {
        // SAFETY: the context is retained until `self` is dropped.
        told("cuCtxSetCurrent", unsafe { result::ctx::set_current(self.raw) })
    }

    /// Waits for all that was started on the device.
    pub(super) fn finish(&self) -> Result<(), String> {
        self.enter()?;
        told("cuCtxSynchronize", result::ctx::synchronize())
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: retained once, in `of`; whatever lives in the context holds it.
        unsafe { result::primary_ctx::release(self.device) }.ok();
    }
}
