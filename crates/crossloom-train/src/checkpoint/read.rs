//! Loading: nothing is trusted before its size and hash were checked.

use std::io;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;

use super::manifest::Manifest;
use super::state::TrainState;
use super::storage::Storage;
use super::tensors::{self, TensorSpec};
use super::{
    CheckpointError, Checkpoints, MANIFEST_FILE, MODEL_FILE, OPTIMIZER_FILE, SCHEMA_VERSION, STATE_FILE,
};
use crate::step::{BoxError, ModelState, StateTensor, Visit};

/// How much of a checkpoint to put into a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestorePart {
    /// Parameters and optimizer moments, to train on.
    All,
    /// Parameters only, to evaluate; a model without moments will do.
    Parameters,
}

/// A committed checkpoint whose manifest, sizes and `state.json` were checked.
#[derive(Debug)]
pub struct Checkpoint<'a> {
    path: PathBuf,
    manifest: Manifest,
    state: TrainState,
    storage: &'a dyn Storage,
    previous: Option<u64>,
}

impl Checkpoints {
    /// The newest committed checkpoint; `None` where there is none. A damaged one is an error, never skipped in silence:
    /// the message names the next older one.
    pub fn newest(&self) -> Result<Option<Checkpoint<'_>>, CheckpointError> {
        match self.steps()?.last() {
            Some(&step) => self.load(step).map(Some),
            None => Ok(None),
        }
    }

    /// The checkpoint after `step` steps.
    pub fn load(&self, step: u64) -> Result<Checkpoint<'_>, CheckpointError> {
        let path = self.path_of(step);
        let steps = self.steps()?;
        if !steps.contains(&step) {
            return Err(CheckpointError::None { path });
        }
        let previous = steps.into_iter().rfind(|&other| other < step);
        self.load_from(path, step, previous)
    }

    /// The checkpoint of a step in a folder of whatever name.
    pub(super) fn load_from(
        &self,
        path: PathBuf,
        step: u64,
        previous: Option<u64>,
    ) -> Result<Checkpoint<'_>, CheckpointError> {
        let storage = &*self.storage;

        let manifest_path = path.join(MANIFEST_FILE);
        let corrupt =
            |path: &Path, problem| CheckpointError::Corrupt { path: path.to_owned(), problem, previous };
        let text = read(storage, &manifest_path, previous)?;
        let manifest = Manifest::parse(&text).map_err(|problem| match newer_schema(&text) {
            Some(found) => {
                CheckpointError::Schema { path: manifest_path.clone(), found, supported: SCHEMA_VERSION }
            }
            None => corrupt(&manifest_path, problem),
        })?;
        if manifest.schema_version > SCHEMA_VERSION {
            let found = manifest.schema_version;
            return Err(CheckpointError::Schema { path: manifest_path, found, supported: SCHEMA_VERSION });
        }
        let names: Vec<&str> = manifest.files.iter().map(|file| file.name.as_str()).collect();
        if names != [MODEL_FILE, OPTIMIZER_FILE, STATE_FILE] {
            return Err(corrupt(&manifest_path, format!("it lists the files {names:?}")));
        }
        for file in &manifest.files {
            let file_path = path.join(&file.name);
            match storage.size(&file_path) {
                Ok(size) if size == file.size => {}
                Ok(size) => {
                    return Err(corrupt(
                        &file_path,
                        format!("it has {size} bytes, the manifest says {}", file.size),
                    ));
                }
                Err(error) => return Err(read_error(error, &file_path, previous)),
            }
        }

        let state_path = path.join(STATE_FILE);
        let state_text = checked(storage, &path, &manifest, STATE_FILE, previous)?;
        let state: TrainState = serde_json::from_slice(&state_text)
            .map_err(|error| corrupt(&state_path, format!("it does not parse: {error}")))?;
        if state.step != step || manifest.step != step {
            let problem = format!("it says step {}, the folder says {step}", state.step);
            return Err(corrupt(&state_path, problem));
        }
        Ok(Checkpoint { path, manifest, state, storage, previous })
    }
}

impl Checkpoint<'_> {
    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its counters and opaque states.
    pub fn state(&self) -> &TrainState {
        &self.state
    }

    /// Its files with sizes and hashes.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Check the hash of every file.
    pub fn verify(&self) -> Result<(), CheckpointError> {
        for file in &self.manifest.files {
            checked(self.storage, &self.path, &self.manifest, &file.name, self.previous)?;
        }
        Ok(())
    }

    /// Visit every parameter that it holds, in the order of its file, whose hash is checked first.
    pub fn visit_parameters(&self, visit: &mut Visit<'_>) -> Result<(), CheckpointError> {
        self.visit(MODEL_FILE, visit)
    }

    fn visit(&self, name: &str, visit: &mut Visit<'_>) -> Result<(), CheckpointError> {
        let path = self.path.join(name);
        let bytes = checked(self.storage, &self.path, &self.manifest, name, self.previous)?;
        let file = SafeTensors::deserialize(&bytes).map_err(|error| CheckpointError::Corrupt {
            path: path.clone(),
            problem: format!("it is not a safetensors file: {error}"),
            previous: self.previous,
        })?;
        let mut tensors = file.tensors();
        tensors.sort_by_key(|(name, tensor)| (tensor.data().as_ptr(), name.clone()));
        for (name, tensor) in tensors {
            let (dtype, shape) = (tensor.dtype(), tensor.shape());
            visit(StateTensor { name: &name, dtype, shape, bytes: tensor.data() }).map_err(|source| {
                CheckpointError::Restore { what: "the model", path: path.clone(), source }
            })?;
        }
        Ok(())
    }

    /// Put the tensors into `model`. Everything is checked first: on an error about the files or their fit the model is
    /// unchanged.
    pub fn restore_model(
        &self,
        model: &mut dyn ModelState,
        part: RestorePart,
    ) -> Result<(), CheckpointError> {
        let restore_error = |name: &str, source| CheckpointError::Restore {
            what: "the model",
            path: self.path.join(name),
            source,
        };
        let specs = tensors::specs(model).map_err(|error| restore_error(MODEL_FILE, error))?;
        let wanted = |optimizer: bool| -> Vec<&TensorSpec> {
            specs.iter().filter(|spec| spec.belongs_to_optimizer() == optimizer).collect()
        };
        let mut parts = vec![(MODEL_FILE, wanted(false))];
        if part == RestorePart::All {
            parts.push((OPTIMIZER_FILE, wanted(true)));
        }
        let mut loaded = Vec::new();
        for (name, wanted) in parts {
            let bytes = checked(self.storage, &self.path, &self.manifest, name, self.previous)?;
            loaded.push((name, wanted, bytes));
        }
        let mut open = Vec::new();
        for (name, wanted, bytes) in &loaded {
            let path = self.path.join(name);
            let file = SafeTensors::deserialize(bytes).map_err(|error| CheckpointError::Corrupt {
                path: path.clone(),
                problem: format!("it is not a safetensors file: {error}"),
                previous: self.previous,
            })?;
            let problems = tensors::differences(&file, wanted);
            if !problems.is_empty() {
                return Err(CheckpointError::Mismatch { path, problems });
            }
            open.push((*name, wanted, file));
        }
        for (name, wanted, file) in open {
            for spec in wanted {
                let tensor = file.tensor(&spec.name).map_err(|error| restore_error(name, error.into()))?;
                let TensorSpec { name: of, dtype, shape } = spec;
                model
                    .load_state(StateTensor { name: of, dtype: *dtype, shape, bytes: tensor.data() })
                    .map_err(|error| restore_error(name, error))?;
            }
        }
        Ok(())
    }
}

/// A checkpoint is copied as the state of a model is saved.
impl ModelState for Checkpoint<'_> {
    fn visit_state(&self, visit: &mut Visit<'_>) -> Result<(), BoxError> {
        self.visit(MODEL_FILE, visit)?;
        Ok(self.visit(OPTIMIZER_FILE, visit)?)
    }

    fn load_state(&mut self, tensor: StateTensor<'_>) -> Result<(), BoxError> {
        Err(format!("`{}` is part of a checkpoint, which is never changed", tensor.name).into())
    }
}

/// The bytes of a file whose size and hash match the manifest.
fn checked(
    storage: &dyn Storage,
    folder: &Path,
    manifest: &Manifest,
    name: &str,
    previous: Option<u64>,
) -> Result<Vec<u8>, CheckpointError> {
    let path = folder.join(name);
    let corrupt = |problem: &str| CheckpointError::Corrupt {
        path: path.clone(),
        problem: problem.to_owned(),
        previous,
    };
    let Some(entry) = manifest.files.iter().find(|file| file.name == name) else {
        return Err(corrupt("the manifest does not list it"));
    };
    let bytes = read(storage, &path, previous)?;
    if blake3::hash(&bytes).to_hex().as_str() == entry.blake3 {
        Ok(bytes)
    } else {
        Err(corrupt("its hash does not match the manifest"))
    }
}

fn read(storage: &dyn Storage, path: &Path, previous: Option<u64>) -> Result<Vec<u8>, CheckpointError> {
    storage.read(path).map_err(|error| read_error(error, path, previous))
}

fn read_error(error: io::Error, path: &Path, previous: Option<u64>) -> CheckpointError {
    let path = path.to_owned();
    if error.kind() == io::ErrorKind::NotFound {
        CheckpointError::Corrupt { path, problem: "it is missing".to_owned(), previous }
    } else {
        CheckpointError::Read { path, source: error }
    }
}

/// The schema version of a manifest that this build cannot parse, if it is a newer one.
fn newer_schema(text: &[u8]) -> Option<u32> {
    let value: serde_json::Value = serde_json::from_slice(text).ok()?;
    let version = u32::try_from(value.get("schema_version")?.as_u64()?).ok()?;
    (version > SCHEMA_VERSION).then_some(version)
}
