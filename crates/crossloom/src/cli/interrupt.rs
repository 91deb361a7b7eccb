//! Ctrl-C: the first one asks for a clean stop, the second one does not wait.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::CliError;

/// A flag that an interrupt (Ctrl-C, or a request of the system to end) sets. A second interrupt ends the process at once
/// with code 130. To be called once.
///
/// # Errors
/// The system does not let interrupts be handled.
pub fn stop_on_interrupt() -> Result<Arc<AtomicBool>, CliError> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let handler = move || {
        if flag.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        let text = "\nstopping after this step with a checkpoint; press Ctrl-C again to stop at once";
        // Where nobody reads there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "{text}");
    };
    ctrlc::set_handler(handler)
        .map_err(|error| CliError::failed(format!("interrupts cannot be handled: {error}")))?;
    Ok(stop)
}
