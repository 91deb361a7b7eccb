//! The `crossloom` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    crossloom::cli::main()
}
