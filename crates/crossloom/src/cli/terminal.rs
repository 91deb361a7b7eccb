//! Where results, messages and errors go.

use std::io::{self, IsTerminal as _, Write as _};

use console::Style;
use serde::Serialize;

use super::CliError;

/// Results on standard output; messages and errors on standard error, in colour where that is a terminal that wants it
/// (`NO_COLOR` is respected).
#[derive(Debug, Clone)]
pub struct Terminal {
    quiet: bool,
    interactive: bool,
}

impl Terminal {
    /// The terminal of this process. A quiet one says nothing but results and errors.
    pub fn new(quiet: bool) -> Self {
        Self { quiet, interactive: !quiet && io::stderr().is_terminal() }
    }

    /// Whether only results and errors are wanted.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether a person looks at standard error, so that bars may move on it.
    pub fn is_interactive(&self) -> bool {
        self.interactive
    }

    /// Letters per line of standard output, where that is a terminal.
    #[allow(clippy::unused_self)]
    pub fn width(&self) -> Option<usize> {
        let (_, columns) = console::Term::stdout().size_checked()?;
        io::stdout().is_terminal().then_some(usize::from(columns))
    }

    /// Writes a result, with a line break at its end.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn print(&self, text: &str) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        if !text.ends_with('\n') {
            out.write_all(b"\n")?;
        }
        Ok(out.flush()?)
    }

    /// Writes a result as JSON.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn json<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(value).map_err(CliError::failed)?;
        self.print(&text)
    }

    /// Says something on standard error, unless it is to be quiet.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            say(text);
        }
    }

    /// Says a problem that the exit code reports as well.
    pub fn problem(&self, text: &str) {
        say(text);
    }

    /// Says why a verb failed, and what to do.
    pub fn error(&self, error: &CliError) {
        match error {
            CliError::Recipe { .. } => say(&error.to_string()),
            CliError::Interrupted(text) => self.note(text),
            CliError::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            _ => {
                say(&format!("error: {error}"));
                if let Some(help) = error.help() {
                    say(&format!("help: {help}"));
                }
            }
        }
    }
}

/// Writes to standard error. Where nobody reads there is nobody to tell, so failures are ignored.
fn say(text: &str) {
    let mut err = io::stderr().lock();
    for line in text.lines() {
        let _ = writeln!(err, "{}", painted(line));
    }
}

/// A line with its first word in the colour of what it announces.
fn painted(line: &str) -> String {
    let style = Style::new().for_stderr().bold();
    let announced =
        [("error", style.clone().red()), ("warning", style.clone().yellow()), ("help", style.cyan())];
    for (word, style) in announced {
        if let Some(rest) = line.strip_prefix(word).filter(|rest| rest.starts_with(':')) {
            return format!("{}{rest}", style.apply_to(word));
        }
    }
    line.to_owned()
}
