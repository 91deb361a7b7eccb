//! What can go wrong with a checkpoint, and what to do about it.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use super::resume::RecipeChange;
use crate::step::BoxError;

/// A checkpoint could not be written or read. Every message names the file and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Writing failed; nothing of this checkpoint is left, unless it was committed, and older ones are untouched.
    #[error("{}", write_message(*step, path, source, *previous, *committed))]
    Write {
        /// The step that was to be saved.
        step: u64,
        /// The file or folder being written.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
        /// The newest checkpoint that exists nevertheless.
        previous: Option<u64>,
        /// Whether the checkpoint was in place already, and what failed came after.
        committed: bool,
    },
    /// The model could not hand out its tensors; nothing was written.
    #[error("cannot save the checkpoint of step {step}: {source}")]
    Model {
        /// The step that was to be saved.
        step: u64,
        /// What the model said.
        source: BoxError,
    },
    /// There is no checkpoint to load.
    #[error("there is no checkpoint in {}: start the run without resuming, or name another run folder", path.display())]
    None {
        /// The folder that was searched.
        path: PathBuf,
    },
    /// A file or folder exists but the system cannot read it.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// A file is missing, has the wrong size or hash, or makes no sense.
    #[error("{}", corrupt_message(path, problem, *previous))]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// An older checkpoint in the same folder, if there is one.
        previous: Option<u64>,
    },
    /// The checkpoint was written by a newer crossloom.
    #[error(
        "{} has schema version {found}, this crossloom reads up to {supported}: update crossloom to resume from it",
        path.display()
    )]
    Schema {
        /// The checkpoint's manifest.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version this build reads.
        supported: u32,
    },
    /// The tensors of the checkpoint are not those of the model.
    #[error("{} does not fit the model:\n{}", path.display(), list(problems))]
    Mismatch {
        /// The tensor file.
        path: PathBuf,
        /// One sentence per missing, unexpected or mis-shaped tensor.
        problems: Vec<String>,
    },
    /// The model or the data set refused the saved state.
    #[error("cannot restore {what} from {}: {source}", path.display())]
    Restore {
        /// What was being restored, e.g. `the sampler`.
        what: &'static str,
        /// The checkpoint's file.
        path: PathBuf,
        /// What the model or data set said.
        source: BoxError,
    },
    /// The recipe has changed in a way that makes resuming meaningless.
    #[error("{}", recipe_message(path, saved, current, changes))]
    RecipeChanged {
        /// The checkpoint's state file.
        path: PathBuf,
        /// Recipe hash of the checkpoint.
        saved: String,
        /// Recipe hash of this run.
        current: String,
        /// What changed; empty when the old recipe is not known.
        changes: Vec<RecipeChange>,
    },
}

fn write_message(
    step: u64,
    path: &std::path::Path,
    source: &io::Error,
    previous: Option<u64>,
    committed: bool,
) -> String {
    let advice = match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => "make the folder writable",
        _ => "check the disk",
    };
    if committed {
        return format!(
            "the checkpoint of step {step} was saved, but tidying up {} failed: {source}; {advice} and resume from it",
            path.display()
        );
    }
    let then = match previous {
        Some(previous) => {
            format!("the checkpoint of step {previous} is untouched: {advice} and resume from it")
        }
        None => format!("there is no earlier checkpoint: {advice} and start again"),
    };
    format!(
        "cannot save the checkpoint of step {step}: writing {} failed: {source}; nothing half-written is left, {then}",
        path.display()
    )
}

fn corrupt_message(path: &std::path::Path, problem: &str, previous: Option<u64>) -> String {
    let folder = path.parent().unwrap_or(path).display();
    let then = match previous {
        Some(previous) => format!("move {folder} away to resume from step {previous} instead"),
        None => format!("restore it from a copy, or move {folder} away and start again"),
    };
    format!("{} is damaged: {problem}; {then}", path.display())
}

fn recipe_message(path: &std::path::Path, saved: &str, current: &str, changes: &[RecipeChange]) -> String {
    let mut text = format!(
        "{} was written with another recipe (hash {saved}, now {current}): resuming would mix two experiments",
        path.display()
    );
    for change in changes {
        let _ = write!(text, "\n  {change}");
    }
    text.push_str("\nundo the change to resume, or start a new run");
    text
}

fn list(problems: &[String]) -> String {
    problems.iter().map(|problem| format!("  {problem}")).collect::<Vec<_>>().join("\n")
}
