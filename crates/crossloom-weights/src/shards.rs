//! The files of a model: one, of any format, or several of safetensors with an index.

use std::collections::BTreeMap;
use std::path::{Component, Path};
use std::sync::Arc;

use crossloom_ir::TensorType;
use crossloom_runtime::{Located, MappedFile, MappedTensor, RunError};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::WeightsError;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The largest text file that is read: an index names some thousand tensors.
const MOST_TEXT: u64 = 64 << 20;

/// The file of every tensor, by the tensor's name in it.
#[derive(Debug)]
pub(crate) struct Shards(BTreeMap<String, Arc<MappedFile>>);

impl Shards {
    /// All tensors of one file.
    pub(crate) fn of(file: &Arc<MappedFile>) -> Self {
        Self(file.header().keys().map(|name| (name.clone(), Arc::clone(file))).collect())
    }

    /// The names of all tensors, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// What a tensor's file says of it; none if no file has one of that name.
    pub(crate) fn located(&self, name: &str) -> Option<&Located> {
        self.0.get(name)?.header().get(name)
    }

    /// A tensor as it lies in its file; none if no file has one of that name.
    ///
    /// # Errors
    /// Its element type is none of ours.
    pub(crate) fn read(&self, name: &str) -> Option<Result<(TensorType, MappedTensor), RunError>> {
        Some(self.0.get(name)?.tensor(name))
    }
}

/// What says in which file each tensor is.
#[derive(Deserialize)]
pub(crate) struct Index {
    /// Files by the names of tensors.
    pub(crate) weight_map: BTreeMap<String, String>,
}

/// Maps all files of a folder.
///
/// # Errors
/// There is none; a file is damaged, or missing, or outside of the folder; index and files name other tensors.
pub(crate) fn open(folder: &Path) -> Result<Shards, WeightsError> {
    let index = folder.join(INDEX);
    if !index.exists() {
        let path = folder.join(SINGLE);
        if !path.exists() {
            return Err(WeightsError::one(folder, format!("holds neither `{SINGLE}` nor `{INDEX}`")));
        }
        let file = MappedFile::open(&path).map_err(|e| WeightsError::one(folder, e))?;
        return Ok(Shards::of(&file));
    }
    let Index { weight_map } =
        serde_json::from_str(&text(&index)?).map_err(|e| WeightsError::one(&index, e))?;
    let mut problems = Vec::new();
    let mut files: BTreeMap<&str, Arc<MappedFile>> = BTreeMap::new();
    let names: std::collections::BTreeSet<&str> = weight_map.values().map(String::as_str).collect();
    for name in names {
        if !is_plain(name) {
            problems.push(format!("names the file `{name}`, which is not one of this folder"));
            continue;
        }
        match MappedFile::open(&folder.join(name)) {
            Ok(file) => drop(files.insert(name, file)),
            Err(error) => problems.push(error.to_string()),
        }
    }
    let mut shards = BTreeMap::new();
    for (tensor, file_name) in &weight_map {
        let Some(file) = files.get(file_name.as_str()) else { continue };
        if !file.header().contains_key(tensor) {
            problems.push(format!("says that `{tensor}` is in `{file_name}`, which does not hold it"));
        }
        shards.insert(tensor.clone(), Arc::clone(file));
    }
    for (file_name, file) in &files {
        let stray = file.header().keys().filter(|name| weight_map.get(*name).is_none_or(|f| f != file_name));
        problems.extend(stray.map(|name| format!("does not say that `{file_name}` holds `{name}`")));
    }
    if problems.is_empty() { Ok(Shards(shards)) } else { Err(WeightsError::new(&index, problems)) }
}

/// Whether a name is that of a file, without any way to it.
pub(crate) fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
}

/// A JSON table of a folder.
///
/// # Errors
/// The file cannot be read, is too large, or holds something else.
pub fn table(path: &Path) -> Result<Map<String, Value>, WeightsError> {
    match serde_json::from_str(&text(path)?) {
        Ok(Value::Object(values)) => Ok(values),
        Ok(_) => Err(WeightsError::one(path, "holds no table")),
        Err(error) => Err(WeightsError::one(path, error)),
    }
}

/// The list that a JSON file holds.
///
/// # Errors
/// The file cannot be read, is too large, or holds something else.
pub(crate) fn list(path: &Path) -> Result<Vec<Value>, WeightsError> {
    match serde_json::from_str(&text(path)?) {
        Ok(Value::Array(values)) => Ok(values),
        Ok(_) => Err(WeightsError::one(path, "holds no list")),
        Err(error) => Err(WeightsError::one(path, error)),
    }
}

fn text(path: &Path) -> Result<String, WeightsError> {
    let failed = |error: std::io::Error| WeightsError::one(path, error);
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > MOST_TEXT {
        return Err(WeightsError::one(path, format!("has {bytes} bytes; at most {MOST_TEXT} are read")));
    }
    std::fs::read_to_string(path).map_err(failed)
}
