//! Where libraries are looked for.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Folders in which libraries are looked for, one after the other, and whether the system's loader is asked last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// Folders, the first one first.
    pub folders: Vec<PathBuf>,
    /// Whether a library that is in none of them is looked for as any program's libraries are.
    pub loader: bool,
}

/// Where the libraries of CUDA's wheels lie below a folder of Python packages: those of version 13, then those of version 12.
const WHEELS: [&str; 3] = ["nvidia/cu13/lib", "nvidia/cuda_nvrtc/lib", "nvidia/cublas/lib"];
/// Where they lie below a folder that a toolkit was installed to.
const TOOLKIT: [&str; 4] = ["lib64", "lib", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib"];

impl Places {
    /// Those of this process: the toolkit that `CUDA_HOME` or `CUDA_PATH` names, the Python environment that is active
    /// (`VIRTUAL_ENV`, `CONDA_PREFIX`, the packages of the user, the environment of the `python3` on the path), the usual
    /// folder of toolkits, and the system's loader.
    pub fn of_user() -> Self {
        Self::of(&|name| env::var_os(name))
    }

    /// As [`Places::of_user`], with other environment variables.
    pub fn of(variable: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let named = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let mut folders = Vec::new();
        for toolkit in ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(named) {
            folders.extend(TOOLKIT.iter().map(|below| toolkit.join(below)));
        }
        let user = named("HOME").map(|home| home.join(".local"));
        let pythons = variable("PATH").unwrap_or_default();
        // `bin/python3` may be a link to elsewhere: the environment is where the link is.
        let on_path = env::split_paths(&pythons).filter(|folder| folder.join("python3").is_file());
        let prefixes = on_path.filter_map(|bin| bin.parent().map(Path::to_owned));
        let named = ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(named);
        for prefix in named.chain(user).chain(prefixes) {
            folders.extend(packages(&prefix).iter().flat_map(|p| WHEELS.map(|below| p.join(below))));
            folders.push(prefix.join("lib"));
        }
        folders.extend(TOOLKIT.iter().map(|below| Path::new("/usr/local/cuda").join(below)));
        folders.push(PathBuf::from("/usr/lib/wsl/lib"));
        let mut seen = BTreeSet::new();
        folders.retain(|folder| folder.is_absolute() && folder.is_dir() && seen.insert(folder.clone()));
        Self { folders, loader: true }
    }
}

/// Folders of Python packages below the prefix of an environment, those of the newest Python first.
fn packages(prefix: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for lib in ["lib", "lib64"].map(|lib| prefix.join(lib)) {
        let entries = std::fs::read_dir(lib).into_iter().flatten().flatten();
        let names =
            entries.filter_map(|entry| entry.file_name().into_string().ok().map(|name| (name, entry)));
        let mut pythons: Vec<(Vec<u32>, PathBuf)> = names
            .filter_map(|(name, entry)| Some((version(name.strip_prefix("python")?)?, entry.path())))
            .collect();
        pythons.sort();
        for (_, python) in pythons.into_iter().rev() {
            found.extend(["site-packages", "dist-packages"].map(|packages| python.join(packages)));
        }
    }
    found
}

/// `3.12` as numbers, so that it is newer than `3.9`.
pub(super) fn version(text: &str) -> Option<Vec<u32>> {
    text.split('.').map(|part| part.parse().ok()).collect()
}
