//! Paths that rows name.

use std::path::{Component, Path, PathBuf};

/// The file of a picture: `name` is a path in the folder `root`, and stays in it.
///
/// # Errors
/// A path that leads out of the folder, by itself or by a link on its way; a file that is not there.
pub(super) fn inside(root: &Path, name: &str) -> Result<PathBuf, String> {
    let shown = name.escape_debug();
    plain(name).map_err(|problem| format!("the picture `{shown}` {problem}"))?;
    let real = |path: &Path| path.canonicalize().map_err(|error| format!("the picture `{shown}`: {error}"));
    let (root, path) = (real(root)?, real(&root.join(name))?);
    if path.starts_with(&root) {
        Ok(path)
    } else {
        Err(format!("the picture `{shown}` is a link out of its folder"))
    }
}

/// Refuses a path that leads somewhere else than down.
pub(super) fn plain(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("has no name");
    }
    if name.contains("://") || name.starts_with("data:") {
        return Err("is an address: pictures are files");
    }
    let down = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if name.contains('\0') || !Path::new(name).components().all(down) {
        return Err("leads out of the folder of pictures");
    }
    Ok(())
}
