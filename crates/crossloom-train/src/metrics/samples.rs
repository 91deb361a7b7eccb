//! `drawn.jsonl`: which samples the newest steps learned from and what they lost on each, one JSON object per line.
//!
//! ```text
//! {"step":10,"loss":2.31,"spike":false,"samples":[{"id":"train.json, line 7","loss":2.02},{"id":"train.json, line 90","loss":2.6}]}
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::PathBuf;

use crossloom_files::write_atomic;
use serde::{Deserialize, Serialize};

use super::SinkError;
use crate::step::SampleLoss;

/// Steps that are kept; the file holds up to twice as many.
const KEPT: usize = 1024;

/// The samples of one step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DrawnSamples {
    /// Number of the step, counted from 1.
    pub step: u64,
    /// Mean loss of the step, in nats; none where it was not finite.
    pub loss: Option<f64>,
    /// Whether the loss stood out of those before it.
    pub spike: bool,
    /// The samples, by file and line.
    pub samples: Vec<SampleLoss>,
}

/// Appends the samples of every step to a file that keeps those of the newest steps.
#[derive(Debug)]
pub struct SampleLog {
    path: PathBuf,
    file: File,
    lines: usize,
}

impl SampleLog {
    /// Goes on with a file behind `completed` steps; lines of later steps, and torn ones, are removed.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn open(path: impl Into<PathBuf>, completed: u64) -> Result<Self, SinkError> {
        let path = path.into();
        let kept = newest(&path, |drawn| drawn.step <= completed)?;
        let file = rewritten(&path, &kept)?;
        Ok(Self { path, file, lines: kept.len() })
    }

    /// Writes a step down.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn record(&mut self, drawn: &DrawnSamples) -> Result<(), SinkError> {
        if self.lines >= 2 * KEPT {
            let kept = newest(&self.path, |_| true)?;
            self.file = rewritten(&self.path, &kept)?;
            self.lines = kept.len();
        }
        self.lines += 1;
        let line = line(drawn);
        let written = self.file.write_all(line.as_bytes());
        written.map_err(|source| SinkError { doing: "write to", path: self.path.clone(), source })
    }
}

/// The newest steps of a file; none of one that is not there.
fn newest(path: &PathBuf, keep: impl Fn(&DrawnSamples) -> bool) -> Result<Vec<DrawnSamples>, SinkError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(source) => return Err(SinkError { doing: "read", path: path.clone(), source }),
    };
    let lines = bytes.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
    let mut all: Vec<DrawnSamples> = lines.filter(keep).collect();
    all.drain(..all.len().saturating_sub(KEPT));
    Ok(all)
}

fn rewritten(path: &PathBuf, kept: &[DrawnSamples]) -> Result<File, SinkError> {
    let text: String = kept.iter().map(line).collect();
    let file = write_atomic(path, text.as_bytes()).and_then(|()| OpenOptions::new().append(true).open(path));
    file.map_err(|source| SinkError { doing: "rewrite", path: path.clone(), source })
}

fn line(drawn: &DrawnSamples) -> String {
    // Texts and finite numbers always have a form in JSON.
    serde_json::to_string(drawn).map_or_else(|_| String::new(), |line| line + "\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn drawn(step: u64) -> DrawnSamples {
        let sample =
            SampleLoss { id: format!("a.json, line {step}"), loss: step.is_multiple_of(2).then_some(1.5) };
        DrawnSamples { step, loss: Some(1.5), spike: false, samples: vec![sample] }
    }

    #[test]
    fn the_newest_steps_are_kept_and_a_resumed_run_writes_what_it_would_have() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("drawn.jsonl");
        let mut log = SampleLog::open(&path, 0).unwrap();
        for step in 1..=5000 {
            log.record(&drawn(step)).unwrap();
        }
        let all = newest(&path, |_| true).unwrap();
        assert_eq!((all.len(), all.last().unwrap()), (KEPT, &drawn(5000)));
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!((KEPT..=2 * KEPT).contains(&lines), "{lines}");
        drop(log);
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"step\":50").unwrap();
        let mut log = SampleLog::open(&path, 4990).unwrap();
        log.record(&drawn(4991)).unwrap();
        let steps: Vec<u64> = newest(&path, |_| true).unwrap().iter().map(|drawn| drawn.step).collect();
        assert_eq!(steps[steps.len() - 2..], [4990, 4991]);
    }
}
