//! Saving: temporary folder, sync, rename, `latest`, rotation.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::manifest::{FileEntry, Manifest};
use super::state::TrainState;
use super::storage::StorageFile;
use super::tensors::{self, TensorSpec};
use super::{
    CheckpointError, Checkpoints, LATEST_FILE, MANIFEST_FILE, MODEL_FILE, OPTIMIZER_FILE, STATE_FILE,
};
use super::{SCHEMA_VERSION, folder_name, step_of_folder};
use crate::step::{BoxError, ModelState, StateTensor};

/// What is added to the name of a checkpoint that makes room for another of the same step.
const REPLACED: &str = ".replaced.tmp";

/// A checkpoint that was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedCheckpoint {
    /// Its folder.
    pub path: PathBuf,
    /// Completed steps.
    pub step: u64,
    /// Bytes of all its files.
    pub bytes: u64,
}

/// An I/O error with the path it happened at.
struct Failed {
    path: PathBuf,
    source: io::Error,
}

/// Why a save stopped before its commit.
enum Stop {
    Io(Failed),
    Model(BoxError),
}

impl From<Failed> for Stop {
    fn from(failed: Failed) -> Self {
        Self::Io(failed)
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Failed + '_ {
    move |source| Failed { path: path.to_owned(), source }
}

impl Checkpoints {
    /// Save the model and `state`. On an error nothing of this checkpoint is left behind and older ones are untouched;
    /// an error of the rotation afterwards is reported too, although the new checkpoint is in place then.
    pub fn save(
        &self,
        model: &dyn ModelState,
        state: &TrainState,
    ) -> Result<SavedCheckpoint, CheckpointError> {
        let step = state.step;
        let temporary = self.temporary_of(step);
        let mut committed = false;
        let result = self.write_and_commit(model, state, &temporary, &mut committed);
        result.map_err(|stop| {
            // Best effort: on a full disk removing works, after a kill nothing does, and both are fine.
            let _ = self.storage.remove_dir(&temporary);
            match stop {
                Stop::Model(source) => CheckpointError::Model { step, source },
                Stop::Io(Failed { path, source }) => {
                    let previous = self.steps().ok().and_then(|steps| steps.last().copied());
                    CheckpointError::Write { step, path, source, previous, committed }
                }
            }
        })
    }

    fn temporary_of(&self, step: u64) -> PathBuf {
        self.root.join(format!("{}.tmp", folder_name(step)))
    }

    fn write_and_commit(
        &self,
        model: &dyn ModelState,
        state: &TrainState,
        temporary: &Path,
        committed: &mut bool,
    ) -> Result<SavedCheckpoint, Stop> {
        let storage = &*self.storage;
        storage.create_dir(&self.root).map_err(at(&self.root))?;
        self.bring_back()?;
        self.remove_temporary_folders()?;
        storage.create_dir(temporary).map_err(at(temporary))?;

        let mut files = self.write_tensors(model, temporary)?;
        let mut text = serde_json::to_vec_pretty(state).map_err(|error| Stop::Model(error.into()))?;
        text.push(b'\n');
        files.push(self.write_file(&temporary.join(STATE_FILE), STATE_FILE, &text)?);
        let bytes = files.iter().map(|file| file.size).sum();
        let manifest =
            Manifest::new(SCHEMA_VERSION, state.step, files).map_err(|error| Stop::Model(error.into()))?;
        let manifest_text = manifest.to_bytes().map_err(|error| Stop::Model(error.into()))?;
        self.write_file(&temporary.join(MANIFEST_FILE), MANIFEST_FILE, &manifest_text)?;
        storage.sync_dir(temporary).map_err(at(temporary))?;

        let path = self.path_of(state.step);
        if self.holds_already(state.step, &manifest_text) {
            *committed = true;
            storage.remove_dir(temporary).map_err(at(temporary))?;
        } else {
            let aside = self.move_aside(state.step)?;
            if let Err(error) = storage.rename(temporary, &path) {
                if let Some(aside) = aside {
                    // Best effort: after a kill nothing works, and then the next process brings it back.
                    let _ = storage.rename(&aside, &path);
                }
                return Err(at(&path)(error).into());
            }
            *committed = true;
            storage.sync_dir(&self.root).map_err(at(&self.root))?;
            self.remove_temporary_folders()?;
        }
        self.write_latest(state.step)?;
        self.rotate(state.step)?;
        Ok(SavedCheckpoint { path, step: state.step, bytes })
    }

    /// Whether the same checkpoint is there and whole: a resumed run reproduces the steps after its checkpoint bit for
    /// bit, and then there is nothing to replace.
    fn holds_already(&self, step: u64, manifest_text: &[u8]) -> bool {
        let manifest = self.path_of(step).join(MANIFEST_FILE);
        self.storage.read(&manifest).is_ok_and(|text| text == manifest_text)
            && self.load(step).is_ok_and(|checkpoint| checkpoint.verify().is_ok())
    }

    /// A damaged or different checkpoint of the same step makes room under a temporary name, which is returned.
    fn move_aside(&self, step: u64) -> Result<Option<PathBuf>, Failed> {
        let path = self.path_of(step);
        if self.storage.list(&path).is_err() {
            return Ok(None);
        }
        let aside = self.root.join(format!("{}{REPLACED}", folder_name(step)));
        self.storage.rename(&path, &aside).map_err(at(&aside))?;
        Ok(Some(aside))
    }

    /// After a process was killed between moving a checkpoint aside and putting its successor in place, neither has the
    /// step's name: the old one gets it back, if it is whole. A run does this before it looks for its newest checkpoint.
    ///
    /// # Errors
    /// The folder cannot be listed or renamed.
    pub fn restore_replaced(&self) -> Result<(), CheckpointError> {
        self.bring_back().map_err(|Failed { path, source }| CheckpointError::Read { path, source })
    }

    fn bring_back(&self) -> Result<(), Failed> {
        let names = match self.storage.list(&self.root) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(at(&self.root)(error)),
        };
        for name in &names {
            let Some(step) = name.strip_suffix(REPLACED).and_then(step_of_folder) else { continue };
            let (aside, path) = (self.root.join(name), self.path_of(step));
            let whole = || self.load_from(aside.clone(), step, None).is_ok_and(|old| old.verify().is_ok());
            if !names.contains(&folder_name(step)) && whole() {
                self.storage.rename(&aside, &path).map_err(at(&path))?;
                self.storage.sync_dir(&self.root).map_err(at(&self.root))?;
            }
        }
        Ok(())
    }

    /// Both tensor files in one visit of the model.
    fn write_tensors(&self, model: &dyn ModelState, folder: &Path) -> Result<Vec<FileEntry>, Stop> {
        let specs = tensors::specs(model).map_err(Stop::Model)?;
        let header = |optimizer: bool| {
            tensors::header(specs.iter().filter(|spec| spec.belongs_to_optimizer() == optimizer))
                .map_err(Stop::Model)
        };
        let mut model_file = self.start_file(folder.join(MODEL_FILE), MODEL_FILE)?;
        model_file.put(&header(false)?)?;
        let mut optimizer_file = self.start_file(folder.join(OPTIMIZER_FILE), OPTIMIZER_FILE)?;
        optimizer_file.put(&header(true)?)?;

        let mut expected = specs.iter();
        let mut failed = None;
        let visited = model.visit_state(&mut |tensor| {
            let Some(spec) = next_matching(&mut expected, tensor) else {
                let name = tensor.name;
                return Err(format!("the model visited its tensors in another order at `{name}`").into());
            };
            let file = if spec.belongs_to_optimizer() { &mut optimizer_file } else { &mut model_file };
            file.write_all(tensor.bytes).map_err(|source| {
                failed = Some(Failed { path: file.path.clone(), source });
                "the write failed".into()
            })
        });
        match (failed, visited) {
            (Some(failed), _) => return Err(failed.into()),
            (None, Err(error)) => return Err(Stop::Model(error)),
            (None, Ok(())) => {}
        }
        if let Some(spec) = expected.next() {
            return Err(Stop::Model(format!("the model did not visit `{}` again", spec.name).into()));
        }
        Ok(vec![model_file.finish()?, optimizer_file.finish()?])
    }

    fn write_file(&self, path: &Path, name: &'static str, bytes: &[u8]) -> Result<FileEntry, Failed> {
        let mut file = self.start_file(path.to_owned(), name)?;
        file.put(bytes)?;
        file.finish()
    }

    fn start_file(&self, path: PathBuf, name: &'static str) -> Result<HashedFile<'_>, Failed> {
        let file = self.storage.create_file(&path).map_err(at(&path))?;
        Ok(HashedFile { path, name, file, hasher: blake3::Hasher::new(), size: 0 })
    }

    fn write_latest(&self, step: u64) -> Result<(), Failed> {
        let path = self.root.join(LATEST_FILE);
        let temporary = self.root.join("latest.tmp");
        self.write_file(&temporary, LATEST_FILE, format!("{}\n", folder_name(step)).as_bytes())?;
        self.storage.rename(&temporary, &path).map_err(at(&path))?;
        self.storage.sync_dir(&self.root).map_err(at(&self.root))
    }

    /// Remove what an earlier process left half-done.
    fn remove_temporary_folders(&self) -> Result<(), Failed> {
        for name in self.storage.list(&self.root).map_err(at(&self.root))? {
            let path = self.root.join(&name);
            if name.starts_with("step-") && path.extension().is_some_and(|extension| extension == "tmp") {
                self.storage.remove_dir(&path).map_err(at(&path))?;
            }
        }
        Ok(())
    }

    /// Remove the oldest beyond `keep`, never the one just written: after going back to an older step on purpose there
    /// are higher-numbered folders.
    fn rotate(&self, written: u64) -> Result<(), Failed> {
        if self.keep == 0 {
            return Ok(());
        }
        let steps = self
            .steps()
            .map_err(|error| Failed { path: self.root.clone(), source: io::Error::other(error) })?;
        let surplus = steps.len().saturating_sub(self.keep);
        for step in steps.into_iter().filter(|&step| step != written).take(surplus) {
            // The rename un-commits at once, so that a kill during the removal leaves no half checkpoint.
            let (path, temporary) = (self.path_of(step), self.temporary_of(step));
            self.storage.rename(&path, &temporary).map_err(at(&path))?;
            self.storage.remove_dir(&temporary).map_err(at(&temporary))?;
        }
        if surplus > 0 { self.storage.sync_dir(&self.root).map_err(at(&self.root)) } else { Ok(()) }
    }
}

fn next_matching<'a>(
    expected: &mut std::slice::Iter<'a, TensorSpec>,
    tensor: StateTensor<'_>,
) -> Option<&'a TensorSpec> {
    expected
        .next()
        .filter(|spec| **spec == TensorSpec::of(tensor) && spec.bytes() == Some(tensor.bytes.len()))
}

/// A file being written whose size and hash are taken on the way.
struct HashedFile<'a> {
    path: PathBuf,
    name: &'static str,
    file: Box<dyn StorageFile + 'a>,
    hasher: blake3::Hasher,
    size: u64,
}

impl HashedFile<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Failed> {
        self.write_all(bytes).map_err(|source| Failed { path: self.path.clone(), source })
    }

    fn finish(mut self) -> Result<FileEntry, Failed> {
        let synced = self.file.flush().and_then(|()| self.file.sync());
        synced.map_err(at(&self.path))?;
        let blake3 = self.hasher.finalize().to_hex().to_string();
        Ok(FileEntry { name: self.name.to_owned(), size: self.size, blake3 })
    }
}

impl Write for HashedFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
