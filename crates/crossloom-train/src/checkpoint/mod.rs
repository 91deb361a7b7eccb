//! Checkpoints that survive a crash at any moment.
//!
//! ```text
//! checkpoints/
//!   latest                    one line, e.g. step-400: for people and other tools
//!   step-400/
//!     model.safetensors       parameters, Hugging Face names, each in its type
//!     optimizer.safetensors   moments, optimizer.m.NAME and optimizer.v.NAME
//!     state.json              step, sampler, random generator, recipe hash
//!     manifest.json           size and BLAKE3 hash of the files above, and of itself
//! ```
//!
//! # How a save commits
//! 1. everything is written to `step-N.tmp/`, each file synced, the manifest last; the folder is synced;
//! 2. the folder is renamed to `step-N` (the commit) and its parent synced;
//! 3. `latest` is replaced atomically;
//! 4. folders beyond the newest `keep` are renamed to `.tmp` and removed.
//!
//! A different checkpoint of the same step is renamed to `step-N.replaced.tmp` right before the commit; where the commit
//! fails or never comes, it gets its name back.
//!
//! An error before the rename removes the temporary folder; a kill leaves it, and it is ignored and removed later. So the
//! newest `step-N` folder is always whole, and a loader trusts folder names only after size and hash checks.
//!
//! # What a load checks
//! The manifest against its own hash and canonical form, the presence and size of every file, the schema version; then,
//! before the first tensor is overwritten, the hash of every file, the safetensors headers, and names, dtypes and shapes
//! against the model, all differences in one list. A load either changes nothing or everything.

mod error;
mod manifest;
mod read;
mod resume;
mod state;
pub mod storage;
mod tensors;
mod write;

pub use error::CheckpointError;
pub use manifest::{FileEntry, Manifest};
pub use read::{Checkpoint, RestorePart};
pub use resume::{RecipeChange, ResumePolicy};
pub use state::TrainState;
pub use write::SavedCheckpoint;

use std::path::{Path, PathBuf};

use self::storage::{Disk, Storage};

/// Version of the layout above; a loader refuses a newer one.
pub const SCHEMA_VERSION: u32 = 1;

pub(crate) const MODEL_FILE: &str = "model.safetensors";
pub(crate) const OPTIMIZER_FILE: &str = "optimizer.safetensors";
pub(crate) const STATE_FILE: &str = "state.json";
pub(crate) const MANIFEST_FILE: &str = "manifest.json";
pub(crate) const LATEST_FILE: &str = "latest";

/// The `checkpoints/` folder of one variant of a run.
#[derive(Debug)]
pub struct Checkpoints {
    root: PathBuf,
    keep: usize,
    storage: Box<dyn Storage>,
}

impl Checkpoints {
    /// Open the folder (made at the first save) and keep the newest `keep` checkpoints; 0 keeps all.
    pub fn new(root: impl Into<PathBuf>, keep: usize) -> Self {
        Self::with_storage(root, keep, Box::new(Disk))
    }

    /// As [`new`](Self::new), on another [`Storage`] than the disk.
    pub fn with_storage(root: impl Into<PathBuf>, keep: usize, storage: Box<dyn Storage>) -> Self {
        Self { root: root.into(), keep, storage }
    }

    /// The folder that holds the checkpoints.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of the checkpoint after `step` steps, whether or not it exists.
    pub fn path_of(&self, step: u64) -> PathBuf {
        self.root.join(folder_name(step))
    }

    /// Steps of all committed checkpoints, ascending. Temporary folders do not count; a missing root has none.
    pub fn steps(&self) -> Result<Vec<u64>, CheckpointError> {
        let names = match self.storage.list(&self.root) {
            Ok(names) => names,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(CheckpointError::Read { path: self.root.clone(), source }),
        };
        let mut steps: Vec<u64> = names.iter().filter_map(|name| step_of_folder(name)).collect();
        steps.sort_unstable();
        Ok(steps)
    }
}

fn folder_name(step: u64) -> String {
    format!("step-{step}")
}

/// `step-12` → 12; anything else, also `step-012` and `step-12.tmp`, is not a checkpoint's folder.
fn step_of_folder(name: &str) -> Option<u64> {
    let step = name.strip_prefix("step-")?.parse().ok()?;
    (folder_name(step) == name).then_some(step)
}
