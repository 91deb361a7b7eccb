//! Whether kernels can be run here.

use std::io::Write;

use crossloom_cuda::shim::Compiler;

/// Whether there is a C++ compiler, or kernels are to run on a GPU, which needs none. Says loudly, past the test harness, if there is none; fails where none may be missing.
pub(crate) fn has_compiler() -> bool {
    // The name is that of `on_gpu.rs`, which not every program has.
    if std::env::var_os("CROSSLOOM_TEST_GPU").is_some_and(|value| value == "1") {
        return true;
    }
    let Err(error) = Compiler::of_system() else { return true };
    assert!(std::env::var_os("CROSSLOOM_REQUIRE_COMPILER").is_none(), "{error}");
    std::io::stderr().write_all(format!("SKIPPED: {error}; no kernel was run\n").as_bytes()).unwrap();
    false
}
