//! Cubins on disk: compiled once per source, architecture and compiler, checked when they are read.

use std::path::{Path, PathBuf};

use crate::PRELUDE;

/// Bytes of the hash that stands before a cubin.
const HASH: usize = blake3::OUT_LEN;

/// A folder of cubins.
#[derive(Clone, Debug)]
pub struct Cubins(PathBuf);

/// What NVIDIA's compiler is given for a kernel: what all share, and its own text.
pub fn whole(source: &str) -> String {
    format!("{PRELUDE}\n{source}")
}

impl Cubins {
    /// Those in a folder, which need not exist.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// The file of a kernel's cubin, by all that it depends on: the compiler's version, the architecture, and the source as
    /// [`whole`] gives it.
    fn file(&self, compiler: &str, architecture: &str, source: &str) -> PathBuf {
        let mut hasher = blake3::Hasher::new();
        for part in [compiler, architecture, source] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        self.0.join(format!("{}.cubin", hasher.finalize().to_hex()))
    }

    /// A kept cubin; none if there is none, or if it is not what was written.
    pub fn read(&self, compiler: &str, architecture: &str, source: &str) -> Option<Vec<u8>> {
        let bytes = std::fs::read(self.file(compiler, architecture, source)).ok()?;
        let (hash, cubin) = bytes.split_at_checked(HASH)?;
        (blake3::hash(cubin).as_bytes() == hash).then(|| cubin.to_vec())
    }

    /// Keeps a cubin.
    ///
    /// # Errors
    /// The file cannot be written; with its name.
    pub fn write(
        &self,
        compiler: &str,
        architecture: &str,
        source: &str,
        cubin: &[u8],
    ) -> Result<(), String> {
        let path = self.file(compiler, architecture, source);
        let written = path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| {
            let content = [&blake3::hash(cubin).as_bytes()[..], cubin].concat();
            crossloom_files::write_atomic(Path::new(&path), &content)
        });
        written.map_err(|error| format!("{}: {error}", path.display()))
    }
}
