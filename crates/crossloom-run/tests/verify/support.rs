//! Recipes, and what is said of them.

use std::path::{Path, PathBuf};

use crossloom_recipe::{LoadOptions, Recipe, load};
use crossloom_run::verify::Verified;

pub(crate) fn recipes() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes")
}

/// A variant of a shipped recipe, with settings overridden.
pub(crate) fn variant(file: &str, name: &str, sets: &[&str]) -> Recipe {
    let options = LoadOptions { sets: sets.iter().map(|&set| set.to_owned()).collect() };
    let loaded = load(&recipes().join(file), &options).unwrap_or_else(|error| panic!("{error}"));
    loaded.variant(name).unwrap().recipe.clone()
}

/// All that is wrong, in lines.
pub(crate) fn said(verified: &Verified) -> String {
    let lines: Vec<String> = verified.problems().map(|(of, problem)| format!("{of}: {problem}\n")).collect();
    lines.concat()
}
