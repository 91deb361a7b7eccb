//! What the tests of this crate share.

#![allow(clippy::unwrap_used, clippy::expect_used, dead_code, unreachable_pub)]

use std::path::{Path, PathBuf};

use crossloom_recipe::{Diagnostics, LoadOptions, LoadedRecipe, load};

/// A folder of this crate's tests.
pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// The recipes that crossloom ships.
pub fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes")
}

/// All `.toml` files below a folder, in order.
pub fn recipes(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(recipes(&path));
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            found.push(path);
        }
    }
    found.sort();
    found
}

pub fn options(sets: &[&str]) -> LoadOptions {
    LoadOptions { sets: sets.iter().map(|set| (*set).to_owned()).collect() }
}

/// Loads a recipe of `tests/good`.
pub fn good(name: &str, sets: &[&str]) -> Result<LoadedRecipe, Diagnostics> {
    load(&folder("good").join(name), &options(sets))
}

/// A temporary folder with files in it.
pub struct Files(tempfile::TempDir);

impl Files {
    pub fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let base = folder.path().join("base.toml");
        if !base.exists() {
            std::fs::copy(self::folder("good").join("base.toml"), base).unwrap();
        }
        Self(folder)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Loads a file; diagnostics are rendered with names as seen from the folder.
    pub fn load(&self, name: &str, sets: &[&str]) -> Result<LoadedRecipe, String> {
        let prefix = format!("{}/", self.0.path().display());
        load(&self.path(name), &options(sets))
            .map_err(|diagnostics| diagnostics.to_string().replace(&prefix, ""))
    }
}
