//! Locks between processes, on a file that is there for nothing else.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::Path;

/// A lock that is held until it is dropped, or the leave to go on where there are none.
#[derive(Debug)]
pub struct FileLock {
    /// `None` where the file system has no locks.
    file: Option<File>,
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Closing alone would not do: a program that is being started elsewhere in this process has a copy of every open file
        // until it is loaded, and the lock belongs to all copies. What cannot be given back is gone with this process.
        if let Some(file) = &self.file {
            let _ = file.unlock();
        }
    }
}

/// Takes the lock at `path` at once, and makes its file if need be; `None` where another process has it.
///
/// Where locks cannot be had at all, this gives no protection, and no reason to refuse: a file system that does not know them, or
/// not here (`ENOSYS`, `ENOTSUP`, `EINVAL`, `ENOLCK`), and a folder that this process cannot write (`EROFS`, `EACCES`,
/// `EPERM`), where it can do no harm either. A lock file of somebody else that can only be read is locked all the same.
///
/// # Errors
/// Anything else, such as a folder that is not there.
pub fn try_lock(path: &Path) -> io::Result<Option<FileLock>> {
    let opened = OpenOptions::new().create(true).truncate(false).write(true).open(path);
    let file = match opened {
        Err(error) if is_read_only(&error) => match File::open(path) {
            Ok(file) => file,
            Err(_) => return Ok(Some(FileLock { file: None })),
        },
        opened => opened?,
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(FileLock { file: Some(file) })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) if has_no_locks(&error) => Ok(Some(FileLock { file: None })),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether no process holds the lock at `path`. Where that cannot be told, as where there are no locks, one may.
pub fn is_free(path: &Path) -> bool {
    match File::open(path) {
        Err(error) => error.kind() == ErrorKind::NotFound,
        // Several may look at once. The look ends with the file, and with the lock, which is given back first.
        Ok(file) => file.try_lock_shared().is_ok() && file.unlock().is_ok(),
    }
}

fn is_read_only(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}

fn has_no_locks(error: &io::Error) -> bool {
    #[cfg(unix)]
    let by_number = error.raw_os_error().is_some_and(|number| {
        [libc::ENOSYS, libc::ENOTSUP, libc::EOPNOTSUPP, libc::EINVAL, libc::ENOLCK].contains(&number)
    });
    #[cfg(not(unix))]
    let by_number = false;
    by_number || error.kind() == ErrorKind::Unsupported || is_read_only(error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::*;

    #[test]
    fn one_at_a_time_has_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lock");
        let first = try_lock(&path).unwrap();
        assert!(first.is_some() && try_lock(&path).unwrap().is_none());
        assert!(!is_free(&path));
        drop(first);
        assert!(is_free(&path) && is_free(&folder.path().join("b.lock")));
        assert!(try_lock(&path).unwrap().is_some());
        assert!(path.exists(), "it is there for the next one");
        assert!(try_lock(&folder.path().join("absent/a.lock")).is_err());
    }

    #[test]
    fn a_lock_ends_with_its_holder_whoever_has_a_copy_of_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lock");
        let lock = try_lock(&path).unwrap().unwrap();
        // What a program that is being started has until it is loaded.
        let copy = lock.file.as_ref().unwrap().try_clone().unwrap();
        drop(lock);
        assert!(try_lock(&path).unwrap().is_some());
        drop(copy);
    }

    #[cfg(unix)]
    #[test]
    fn every_way_to_have_no_locks_is_one() {
        let none = [
            libc::ENOSYS,
            libc::ENOTSUP,
            libc::EOPNOTSUPP,
            libc::EINVAL,
            libc::ENOLCK,
            libc::EROFS,
            libc::EACCES,
            libc::EPERM,
        ];
        for number in none {
            assert!(has_no_locks(&io::Error::from_raw_os_error(number)), "{number}");
        }
        for number in [libc::EIO, libc::ENOSPC, libc::EINTR, libc::EBADF] {
            assert!(!has_no_locks(&io::Error::from_raw_os_error(number)), "{number}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_cannot_be_written_has_no_locks_but_one_that_is_there_counts() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lock");
        fs::write(&path, "").unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        mode(&path, 0o444);
        mode(folder.path(), 0o555);
        // Whoever may do everything is not kept out by modes, and takes the same locks.
        let first = try_lock(&path).unwrap();
        assert!(first.is_some() && try_lock(&path).unwrap().is_none());
        assert!(try_lock(&folder.path().join("b.lock")).unwrap().is_some());
        mode(folder.path(), 0o755);
    }
}
