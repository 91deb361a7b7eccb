//! What a package unpacked to, so that damage is seen.

use std::fs;
use std::io;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

use super::hash::hash_file;
use super::{Asset, AssetError};

const SCHEMA: u32 = 1;
const FILE_NAME: &str = "manifest.json";
/// Below a package's folder: what it holds.
pub(super) const FILES_FOLDER: &str = "files";

/// A package as it was unpacked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssetManifest {
    /// The version of this format.
    pub schema: u32,
    /// The package.
    pub name: String,
    /// The exact one that was fetched.
    pub version: String,
    /// As it came, 64 hexadecimal digits in lower case.
    pub archive_sha256: String,
    /// Every file, sorted by path.
    pub files: Vec<ManifestFile>,
}

/// One unpacked file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestFile {
    /// Below the package's folder, with `/`.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Of its content, 64 hexadecimal digits in lower case.
    pub sha256: String,
}

/// What lies in a package's place in the cache.
pub(super) enum Cached {
    Absent,
    Damaged(Vec<String>),
    Sound(AssetManifest),
}

impl AssetManifest {
    pub(super) fn new(asset: &Asset, mut files: Vec<ManifestFile>) -> Self {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Self {
            schema: SCHEMA,
            name: asset.name.clone(),
            version: asset.version.clone(),
            archive_sha256: asset.sha256.clone(),
            files,
        }
    }

    /// Writes it into a package's folder.
    pub(super) fn write(&self, folder: &Path) -> Result<(), AssetError> {
        let path = folder.join(FILE_NAME);
        let json = serde_json::to_vec_pretty(self).map_err(io::Error::from);
        json.and_then(|json| fs::write(&path, json)).map_err(AssetError::io("write", &path))
    }

    /// Reads it and compares every file with it.
    pub(super) fn verify(folder: &Path, asset: &Asset) -> Cached {
        match fs::symlink_metadata(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Cached::Absent,
            Err(error) => return Cached::Damaged(vec![format!("{}: {error}", folder.display())]),
            Ok(_) => {}
        }
        let manifest: Self = match fs::read(folder.join(FILE_NAME))
            .map_err(|error| error.to_string())
            .and_then(|json| serde_json::from_slice(&json).map_err(|error| error.to_string()))
        {
            Ok(manifest) => manifest,
            Err(error) => return Cached::Damaged(vec![format!("{FILE_NAME}: {error}")]),
        };
        let recorded = (manifest.schema, &manifest.name, &manifest.version, &manifest.archive_sha256);
        if recorded != (SCHEMA, &asset.name, &asset.version, &asset.sha256) {
            return Cached::Damaged(vec![format!("{FILE_NAME} is of another package")]);
        }
        let files = folder.join(FILES_FOLDER);
        let problems: Vec<String> = manifest.files.iter().filter_map(|file| file.problem(&files)).collect();
        if problems.is_empty() { Cached::Sound(manifest) } else { Cached::Damaged(problems) }
    }
}

impl ManifestFile {
    fn problem(&self, folder: &Path) -> Option<String> {
        let relative = Path::new(&self.path);
        if !relative.components().all(|part| matches!(part, Component::Normal(_))) {
            return Some(format!("{FILE_NAME} names `{}`, which is outside the package", self.path));
        }
        match hash_file(&folder.join(relative)) {
            Err(error) => Some(format!("{}: {error}", self.path)),
            Ok((bytes, _)) if bytes != self.bytes => {
                Some(format!("{} has {bytes} bytes, not {}", self.path, self.bytes))
            }
            Ok((_, sha256)) if sha256 != self.sha256 => Some(format!("{} has changed", self.path)),
            Ok(_) => None,
        }
    }
}
