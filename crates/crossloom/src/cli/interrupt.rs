//! Requests to stop: a clean stop for all of them, and none for the second Ctrl-C.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU};
use signal_hook::low_level::signal_name;

use super::CliError;

/// A terminal sends INT, QUIT and HUP, a session manager HUP and TERM; batch systems announce an end by USR1, USR2 or XCPU.
const ENDS: [i32; 7] = [SIGINT, SIGQUIT, SIGHUP, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU];

/// A flag that a request to stop a training sets, as [`on_interrupt`] has it. To be called once.
///
/// # Errors
/// The system does not let requests be handled.
pub fn stop_on_interrupt() -> Result<Arc<AtomicBool>, CliError> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    on_interrupt("stopping after this step with a checkpoint", move || asked.store(true, Ordering::SeqCst))?;
    Ok(stop)
}

/// Does something on every request to stop: Ctrl-C, and every signal by which a terminal, a session manager or a batch
/// system ends a process or announces that it will; the first is answered with what happens now. A second Ctrl-C ends the
/// process at once with code 130; nothing else does. A signal that was ignored when the process began, as `nohup` and shells
/// do for what they put into the background, stays ignored. To be called once.
///
/// # Errors
/// The system does not let requests be handled.
pub fn on_interrupt(stopping: &'static str, act: impl Fn() + Send + 'static) -> Result<(), CliError> {
    listen(Requests { stopping, act, came: false, pressed: false })
        .map_err(|error| CliError::failed(format!("requests to stop cannot be handled: {error}")))
}

/// What came so far.
struct Requests<A> {
    stopping: &'static str,
    act: A,
    came: bool,
    pressed: bool,
}

/// What a request leads to.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Say(String),
    Nothing,
    End,
}

impl<A: Fn()> Requests<A> {
    /// What becomes of a request of that name; none is Ctrl-C.
    fn take(&mut self, signal: Option<&str>) -> Answer {
        let first = !std::mem::replace(&mut self.came, true);
        let stopping = self.stopping;
        let again = "press Ctrl-C again to stop at once";
        match (signal, first) {
            (None, _) if std::mem::replace(&mut self.pressed, true) => Answer::End,
            (None, true) => Answer::Say(format!("Ctrl-C: {stopping}; {again}")),
            (None, false) => Answer::Say(format!("Ctrl-C: it stops already; {again}")),
            (Some(signal), true) => Answer::Say(format!("{signal}: {stopping}")),
            (Some(_), false) => Answer::Nothing,
        }
    }

    fn handle(&mut self, signal: Option<&str>) {
        let answer = self.take(signal);
        (self.act)();
        match answer {
            Answer::End => std::process::exit(130),
            // Where nobody reads there is nobody to tell.
            Answer::Say(text) => _ = writeln!(std::io::stderr(), "\n{text}"),
            Answer::Nothing => {}
        }
    }
}

fn listen(mut requests: Requests<impl Fn() + Send + 'static>) -> std::io::Result<()> {
    let heard = ENDS.into_iter().filter(|&signal| !is_ignored(signal));
    let mut signals = signal_hook::iterator::Signals::new(heard)?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            requests.handle((signal != SIGINT).then(|| signal_name(signal).unwrap_or("a signal")));
        }
    })?;
    Ok(())
}

/// Whether a signal is ignored. Nothing in this process has changed that yet.
fn is_ignored(signal: libc::c_int) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: with a null pointer for the new action the call changes nothing, and writes at most one `sigaction` to memory
    // that is ours and has its size and alignment.
    let asked = unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: the memory was zero before, and a `sigaction` of zeros is valid: it consists of integers, a set of bits and a
    // nullable pointer to a function. The call, if it wrote, wrote a valid one.
    asked == 0 && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(requests: &mut Requests<fn()>, signal: Option<&str>) -> String {
        match requests.take(signal) {
            Answer::Say(text) => text,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn only_a_repeated_ctrl_c_ends_at_once() {
        let stopping = "stopping after this step with a checkpoint";
        let requests = || Requests { stopping, act: (|| {}) as fn(), came: false, pressed: false };
        let mut pressed = requests();
        assert!(said(&mut pressed, None).contains("with a checkpoint; press Ctrl-C again"));
        assert_eq!(pressed.take(Some("SIGTERM")), Answer::Nothing);
        assert_eq!(pressed.take(None), Answer::End);
        let mut ended = requests();
        assert_eq!(said(&mut ended, Some("SIGTERM")), "SIGTERM: stopping after this step with a checkpoint");
        for signal in ["SIGTERM", "SIGHUP", "SIGXCPU"] {
            assert_eq!(ended.take(Some(signal)), Answer::Nothing);
        }
        assert!(said(&mut ended, None).contains("it stops already"));
        assert_eq!(ended.take(None), Answer::End);
    }
}
