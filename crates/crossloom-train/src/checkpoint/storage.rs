//! The file operations that a checkpoint is made of, behind a trait so that tests can fail each of them.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// A file being written.
pub trait StorageFile: Write {
    /// Make everything written so far durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// A place with files and folders.
pub trait Storage: fmt::Debug + Send + Sync {
    /// Make a folder; fine if it exists. Its parent must exist: what was removed is not made anew.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Make a new, empty file, replacing one of that name.
    fn create_file(&self, path: &Path) -> io::Result<Box<dyn StorageFile + '_>>;
    /// Make a folder's entries durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Rename a file (replacing the target) or a folder (whose target must not exist), atomically.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Remove a folder with everything in it; fine if there is none.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// The whole content of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Size of a file in bytes.
    fn size(&self, path: &Path) -> io::Result<u64>;
    /// Names of a folder's entries, sorted; entries whose name is not UTF-8 are left out.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
}

/// The real disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

impl StorageFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

impl Storage for Disk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            result => result,
        }
    }

    fn create_file(&self, path: &Path) -> io::Result<Box<dyn StorageFile + '_>> {
        Ok(Box::new(File::create(path)?))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        // Only Unix opens folders as files; elsewhere the rename itself is the best there is.
        if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn size(&self, path: &Path) -> io::Result<u64> {
        let metadata = fs::metadata(path)?;
        if metadata.is_file() { Ok(metadata.len()) } else { Err(io::Error::other("it is not a file")) }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            names.extend(entry?.file_name().into_string().ok());
        }
        names.sort_unstable();
        Ok(names)
    }
}
