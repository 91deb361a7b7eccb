//! From a file to checked recipes: files and `extends`, `--set`, variants, sweeps.

mod architecture;
mod files;
mod methods;
mod normalise;
mod set;
mod stages;
mod sweep;
mod variants;

use std::path::{Component, Path, PathBuf};

use indexmap::IndexMap;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::provenance::Provenance;
use crate::schema::{Architecture, Recipe};

/// What the command line adds to a recipe.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// Overrides in the form `a.b=value`, applied in this order after everything else. The value is read as TOML, and as
    /// a string if it is none. `variants.NAME.a.b=value` overrides in one variant only.
    pub sets: Vec<String>,
}

/// A recipe that can be run: at least one variant, all of them checked.
#[derive(Debug, Clone)]
pub struct LoadedRecipe {
    /// The file, as it was given.
    pub path: PathBuf,
    /// Every file that was read, in order of reading; the recipe itself first.
    pub files: Vec<PathBuf>,
    /// The recipe without its variants, with all `--set` applied.
    pub base: Recipe,
    /// Where each value of `base` comes from.
    pub provenance: Provenance,
    /// What is to be run, in the order of the file; swept values vary fastest in the last axis. A recipe without variants
    /// has one, with the recipe's name.
    pub variants: Vec<Variant>,
    /// What is probably not meant, but can be run.
    pub warnings: Vec<Diagnostic>,
}

/// One run of a recipe.
#[derive(Debug, Clone)]
pub struct Variant {
    /// Its stable name, which names its folder: `cli`, or `cli,rank=4` for a swept one.
    pub name: String,
    /// One sentence on what it is, from the variant or from a file that it extends; may be empty.
    pub description: String,
    /// Whether the others are compared with this one.
    pub baseline: bool,
    /// Swept settings and their values, in the order of the sweep: `topology.adapter.rank` → `4`.
    pub axes: IndexMap<String, String>,
    /// The resolved recipe.
    pub recipe: Recipe,
    /// Where each value of `recipe` comes from.
    pub provenance: Provenance,
}

impl LoadedRecipe {
    /// A variant by its name.
    pub fn variant(&self, name: &str) -> Option<&Variant> {
        self.variants.iter().find(|variant| variant.name == name)
    }
}

/// Reads a recipe from a file, with everything that it extends, and checks it.
///
/// # Errors
/// All errors that could be found, each with its place and a hint.
pub fn load(path: &Path, options: &LoadOptions) -> Result<LoadedRecipe, Diagnostics> {
    read(files::Loader::new(path, None), options)
}

/// What says of pretrained weights at a path which model they are of, or everything that is wrong with them.
pub type ReadArchitecture<'r> = dyn Fn(&Path) -> Result<Architecture, Vec<String>> + 'r;

/// Like [`load`], for recipes that may name pretrained weights: their dimensions are read by `weights`. Without it, a recipe
/// that names weights has to state all dimensions, as one that a run's folder keeps does, and nothing is looked for.
///
/// # Errors
/// As [`load`]; weights that cannot be read, or that contradict the recipe.
pub fn load_with(
    path: &Path,
    options: &LoadOptions,
    weights: &ReadArchitecture<'_>,
) -> Result<LoadedRecipe, Diagnostics> {
    read(files::Loader::new(path, Some(weights)), options)
}

fn read(mut loader: files::Loader<'_>, options: &LoadOptions) -> Result<LoadedRecipe, Diagnostics> {
    let text = loader.read_main();
    loader.finish(text, options)
}

/// Like [`load`], for a text that is already in memory. `path` gives it its name and the folder for `extends`; the file
/// need not exist.
///
/// # Errors
/// As [`load`].
pub fn load_text(path: &Path, text: &str, options: &LoadOptions) -> Result<LoadedRecipe, Diagnostics> {
    let mut loader = files::Loader::new(path, None);
    let text = loader.check_size(text.to_owned());
    loader.finish(text, options)
}

/// Like [`load_text`], with dimensions of pretrained weights as in [`load_with`].
///
/// # Errors
/// As [`load_with`].
pub fn load_text_with(
    path: &Path,
    text: &str,
    options: &LoadOptions,
    weights: &ReadArchitecture<'_>,
) -> Result<LoadedRecipe, Diagnostics> {
    let mut loader = files::Loader::new(path, Some(weights));
    let text = loader.check_size(text.to_owned());
    loader.finish(text, options)
}

/// Whether a relative path has a `..` that leads out of the folder it starts in.
pub(crate) fn leaves_folder(path: &Path) -> bool {
    let mut depth = 0_i64;
    !path.is_absolute()
        && path.components().any(|component| {
            match component {
                Component::ParentDir => depth -= 1,
                Component::Normal(_) => depth += 1,
                Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
            }
            depth < 0
        })
}
