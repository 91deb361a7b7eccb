//! Whether kernels can be run here.

use std::io::Write;

use crossloom_cuda::shim::Compiler;

/// Whether there is a C++ compiler. Says loudly, past the test harness, if there is none; fails where none may be missing.
pub(crate) fn has_compiler() -> bool {
    let Err(error) = Compiler::of_system() else { return true };
    assert!(std::env::var_os("CROSSLOOM_REQUIRE_COMPILER").is_none(), "{error}");
    std::io::stderr().write_all(format!("SKIPPED: {error}; no kernel was run\n").as_bytes()).unwrap();
    false
}
