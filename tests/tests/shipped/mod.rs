//! The recipes that crossloom ships.

use std::path::{Path, PathBuf};

use crossloom_recipe::{LoadOptions, LoadedRecipe, load};

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Names of the recipes directly in `recipes/`, in order; methods are parts of them.
pub(crate) fn recipes() -> Vec<String> {
    let names = files("recipes");
    assert!(names.len() >= 3, "{names:?}");
    names
}

/// Names of the studies, in order, as [`recipe`] takes them.
#[allow(dead_code, reason = "not every test looks at studies")]
pub(crate) fn studies() -> Vec<String> {
    let names: Vec<String> =
        files("recipes/studies").into_iter().map(|name| format!("studies/{name}")).collect();
    assert!(names.len() >= 4, "{names:?}");
    names
}

fn files(folder: &str) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root().join(folder)).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            names.push(path.file_stem().unwrap().to_str().unwrap().to_owned());
        }
    }
    names.sort();
    names
}

/// One of them.
pub(crate) fn recipe(name: &str) -> LoadedRecipe {
    let path = root().join("recipes").join(format!("{name}.toml"));
    load(&path, &LoadOptions::default()).unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
}
