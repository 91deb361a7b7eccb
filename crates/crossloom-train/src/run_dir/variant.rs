//! The folder of one variant.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crossloom_files::write_atomic;

use super::{RunDirError, StageDir, io_error, remove_file};

/// The folder of the stages.
const STAGES: &str = "stages";

/// The folder of one variant of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariantDir {
    pub(super) path: PathBuf,
}

impl VariantDir {
    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it holds what must not be thrown away unasked: a checkpoint or results.
    pub fn holds_work(&self) -> bool {
        self.results_path().exists() || self.holds_checkpoint()
    }

    /// Whether it holds a checkpoint, of whatever stage.
    pub fn holds_checkpoint(&self) -> bool {
        let stages = fs::read_dir(self.path.join(STAGES)).into_iter().flatten().flatten();
        let stages = stages.map(|entry| StageDir { path: entry.path() });
        stages.chain([self.stage(None)]).any(|stage| stage.holds_checkpoint())
    }

    /// The folder of a stage, `stages/NAME`, whether or not it exists; that of a training without stages is the variant's own.
    pub fn stage(&self, name: Option<&str>) -> StageDir {
        let path = match name {
            Some(name) => self.path.join(STAGES).join(name),
            None => self.path.clone(),
        };
        StageDir { path }
    }

    /// Make (or enter) the folder of a stage. The variant's own folder must be there.
    pub fn enter_stage(&self, name: Option<&str>) -> Result<StageDir, RunDirError> {
        let stage = self.stage(name);
        let folders = [self.path.join(STAGES), stage.path.clone()];
        for folder in folders.iter().filter(|_| name.is_some()) {
            match fs::create_dir(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !folder.is_dir() => {
                    return Err(io_error("make", folder)(error));
                }
                _ => {}
            }
        }
        Ok(stage)
    }

    /// Remove the folder with everything in it; fine if there is none.
    pub fn remove(&self) -> Result<(), RunDirError> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io_error("remove", &self.path)(error))
            }
            _ => Ok(()),
        }
    }

    /// The variant's name.
    pub fn name(&self) -> String {
        self.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }

    /// `samples.jsonl`.
    pub fn samples_path(&self) -> PathBuf {
        self.path.join("samples.jsonl")
    }

    /// `results.json`.
    pub fn results_path(&self) -> PathBuf {
        self.path.join("results.json")
    }

    /// Remove the answers and their numbers; fine if there are none.
    pub fn remove_answers(&self) -> Result<(), RunDirError> {
        remove_file(&self.results_path())?;
        remove_file(&self.samples_path())
    }

    /// Write a small file of the variant atomically.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), RunDirError> {
        let path = self.path.join(name);
        write_atomic(&path, bytes).map_err(io_error("write", &path))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use crate::run_dir::RunDir;

    #[test]
    fn a_variant_holds_work_once_it_has_a_checkpoint_or_results() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDir::create(root.path(), "r", "abc").unwrap();
        let variant = run.variant("cli").unwrap();
        variant.write("metrics.jsonl", b"{}").unwrap();
        fs::create_dir_all(variant.stage(None).checkpoints_path().join("step-3.tmp")).unwrap();
        assert!(!variant.holds_work());
        fs::create_dir(variant.stage(None).checkpoints_path().join("step-3")).unwrap();
        assert!(variant.holds_checkpoint() && variant.holds_work());
        variant.remove().unwrap();
        assert!(variant.enter_stage(Some("align")).is_err(), "a variant that was removed is not made anew");
        let staged = run.variant("cli").unwrap();
        staged.enter_stage(Some("align")).unwrap();
        assert_eq!(staged.enter_stage(Some("align")).unwrap(), staged.stage(Some("align")));
        assert!(!staged.holds_work());
        fs::create_dir_all(staged.stage(Some("align")).checkpoints_path().join("step-3")).unwrap();
        assert!(staged.holds_checkpoint() && !staged.stage(Some("tune")).holds_checkpoint());
        variant.remove().unwrap();
        variant.remove().unwrap();
        assert!(!variant.holds_work());
        run.variant("cli").unwrap().write("results.json", b"{}").unwrap();
        assert!(variant.holds_work() && !variant.holds_checkpoint());
        variant.write("samples.jsonl", b"").unwrap();
        variant.remove_answers().unwrap();
        variant.remove_answers().unwrap();
        assert!(!variant.samples_path().exists() && !variant.holds_work());
    }
}
