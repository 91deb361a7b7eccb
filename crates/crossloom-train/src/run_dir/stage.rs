//! The folder of one training of a variant.

use std::path::{Path, PathBuf};

use crossloom_files::write_atomic;

use super::{RunDirError, io_error};
use crate::checkpoint::Checkpoints;

/// The folder of one training of a variant: that of a stage, or, where there are no stages, the variant's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageDir {
    pub(super) path: PathBuf,
}

impl StageDir {
    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it holds a checkpoint.
    pub fn holds_checkpoint(&self) -> bool {
        Checkpoints::new(self.checkpoints_path(), 0).steps().is_ok_and(|steps| !steps.is_empty())
    }

    /// `metrics.jsonl`.
    pub fn metrics_path(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// `drawn.jsonl`: which samples the newest steps learned from.
    pub fn drawn_path(&self) -> PathBuf {
        self.path.join("drawn.jsonl")
    }

    /// The folder of TensorBoard event files.
    pub fn tensorboard_path(&self) -> PathBuf {
        self.path.join("tb")
    }

    /// The folder of checkpoints.
    pub fn checkpoints_path(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// Write a small file atomically.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), RunDirError> {
        let path = self.path.join(name);
        write_atomic(&path, bytes).map_err(io_error("write", &path))
    }
}
