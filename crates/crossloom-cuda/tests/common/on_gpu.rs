//! The GPU that tests are to run on, where one is asked for.

use std::sync::{Arc, OnceLock};

use crossloom_cuda::probe::Places;
use crossloom_cuda::{Choice, GpuDriver};
use std::path::PathBuf;

/// Whether tests are to run on a GPU: then kernels are started there, and none is built for the processor.
pub(crate) fn is_asked_for() -> bool {
    std::env::var_os("CROSSLOOM_TEST_GPU").is_some_and(|value| value == "1")
}

/// A driver of the first GPU, whose cubins are kept where `CROSSLOOM_CACHE` says.
#[allow(dead_code, reason = "not every test program opens a driver of its own")]
pub(crate) fn open() -> GpuDriver {
    let folder = std::env::var_os("CROSSLOOM_CACHE").map(|cache| PathBuf::from(cache).join("cubins"));
    GpuDriver::open(0, &Places::of_user(), folder).unwrap_or_else(|error| panic!("{error}"))
}

/// The same with products of the library.
#[allow(dead_code, reason = "not every test program multiplies")]
pub(crate) fn with_library(tf32: bool) -> GpuDriver {
    let with = open().with_library(&Places::of_user(), Choice::First, tf32, None);
    with.unwrap_or_else(|(_, reason)| panic!("{reason}"))
}

/// The driver that a test program shares, if tests are to run on a GPU.
#[allow(dead_code, reason = "not every test program shares one")]
pub(crate) fn driver() -> Option<Arc<GpuDriver>> {
    static SHARED: OnceLock<Option<Arc<GpuDriver>>> = OnceLock::new();
    SHARED.get_or_init(|| is_asked_for().then(|| Arc::new(open()))).clone()
}
