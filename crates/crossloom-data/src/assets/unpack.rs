//! Unpacking an archive without trusting it.
//!
//! Refused: a name that leaves the folder (`..`, an absolute path), a link, an encrypted file, more files or more bytes
//! than the registry allows. Bytes are counted as they come out, not as the archive declares them.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Component, Path};

use sha2::{Digest as _, Sha256};
use zip::ZipArchive;

use super::hash::hex;
use super::{Asset, AssetError, ManifestFile};

/// Unpacks `archive` into the existing, empty `folder`; `progress` gets the files written and their total.
pub(super) fn unpack(
    archive: &Path,
    folder: &Path,
    asset: &Asset,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<ManifestFile>, AssetError> {
    let refuse = |reason: String| AssetError::Archive { path: archive.to_owned(), reason };
    let file = File::open(archive).map_err(AssetError::io("open", archive))?;
    let mut zip = ZipArchive::new(io::BufReader::new(file)).map_err(|error| refuse(error.to_string()))?;
    let total = zip.len();
    if total > asset.files {
        return Err(refuse(format!("it holds {total} files; the limit is {}", asset.files)));
    }
    let mut left = asset.unpacked_bytes;
    let mut files = Vec::new();
    for index in 0..total {
        let mut entry = zip.by_index(index).map_err(|error| refuse(error.to_string()))?;
        let name = entry.name().to_owned();
        let relative = Path::new(&name);
        let inside = relative.components().all(|part| matches!(part, Component::Normal(_)));
        if name.is_empty() || !inside || name.contains(['\\', '\0', ':']) {
            return Err(refuse(format!("`{name}` would be written outside the cache")));
        }
        if entry.is_symlink() {
            return Err(refuse(format!("`{name}` is a link")));
        }
        let target = folder.join(relative);
        if entry.is_dir() {
            fs::create_dir_all(&target).map_err(AssetError::io("create", &target))?;
            continue;
        }
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(AssetError::io("create", parent))?;
        }
        // Never through an existing file: two entries of one name are refused too.
        let mut output = File::create_new(&target).map_err(AssetError::io("create", &target))?;
        let mut hasher = Sha256::new();
        let mut buffer = [0; 16 << 10];
        let mut bytes = 0;
        loop {
            let count = entry.read(&mut buffer).map_err(|error| refuse(format!("`{name}`: {error}")))?;
            if count == 0 {
                break;
            }
            left = left.checked_sub(count as u64).ok_or_else(|| {
                refuse(format!("it unpacks to more than the limit of {} bytes", asset.unpacked_bytes))
            })?;
            hasher.update(&buffer[..count]);
            output.write_all(&buffer[..count]).map_err(AssetError::io("write", &target))?;
            bytes += count as u64;
        }
        files.push(ManifestFile { path: name, bytes, sha256: hex(&hasher.finalize()) });
        progress(index + 1, total);
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use crate::assets::AssetSource;
    use zip::write::{SimpleFileOptions, ZipWriter};

    fn limits(unpacked_bytes: u64, files: usize) -> Asset {
        Asset {
            name: "a".into(),
            version: "1".into(),
            source: AssetSource::Pypi,
            file: "a.whl".into(),
            bytes: 0,
            sha256: String::new(),
            unpacked_bytes,
            files,
            licence: "MIT".into(),
            description: String::new(),
            model: None,
        }
    }

    /// Unpacks an archive of these files; what was written below the folder, and the outcome.
    fn check(entries: &[(&str, &[u8])], asset: &Asset) -> Result<Vec<ManifestFile>, String> {
        let outer = tempfile::tempdir().unwrap();
        let archive = outer.path().join("a.whl");
        let mut zip = ZipWriter::new(File::create(&archive).unwrap());
        for (name, content) in entries {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(content).unwrap();
        }
        zip.finish().unwrap();
        let folder = outer.path().join("deep/inside");
        fs::create_dir_all(&folder).unwrap();
        let result = unpack(&archive, &folder, asset, &mut |_, _| {}).map_err(|error| error.to_string());
        assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 2, "nothing is written outside");
        assert_eq!(fs::read_dir(outer.path().join("deep")).unwrap().count(), 1, "nothing is written outside");
        result
    }

    #[test]
    fn files_come_out_with_their_hashes() {
        let files = check(&[("a/b.txt", b"hello"), ("c", b"")], &limits(5, 2)).unwrap();
        assert_eq!((files[0].path.as_str(), files[0].bytes), ("a/b.txt", 5));
        assert_eq!(files[0].sha256, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
    }

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        for name in ["../evil", "a/../../evil", "/tmp/evil", "a\\..\\..\\evil", "C:/evil"] {
            let error = check(&[(name, b"x")], &limits(100, 10)).unwrap_err();
            assert!(error.contains("outside the cache"), "{name}: {error}");
        }
    }

    #[test]
    fn too_many_files_and_too_many_bytes_are_refused() {
        let error = check(&[("a", b""), ("b", b"")], &limits(100, 1)).unwrap_err();
        assert!(error.contains("holds 2 files; the limit is 1"), "{error}");
        let bomb = vec![0; 1 << 20];
        let error = check(&[("a", &bomb)], &limits(1000, 1)).unwrap_err();
        assert!(error.contains("more than the limit of 1000 bytes"), "{error}");
    }

    #[test]
    fn links_are_refused() {
        let outer = tempfile::tempdir().unwrap();
        let archive = outer.path().join("a.whl");
        let mut zip = ZipWriter::new(File::create(&archive).unwrap());
        zip.add_symlink("link", "/etc/passwd", SimpleFileOptions::default()).unwrap();
        zip.finish().unwrap();
        let folder = outer.path().join("inside");
        fs::create_dir(&folder).unwrap();
        let error = unpack(&archive, &folder, &limits(1000, 1), &mut |_, _| {}).unwrap_err();
        assert!(error.to_string().contains("`link` is a link"), "{error}");
    }

    #[test]
    fn damaged_archives_are_refused_at_every_cut() {
        let outer = tempfile::tempdir().unwrap();
        let archive = outer.path().join("a.whl");
        let mut zip = ZipWriter::new(File::create(&archive).unwrap());
        zip.start_file("a", SimpleFileOptions::default()).unwrap();
        zip.write_all(&[7; 300]).unwrap();
        zip.finish().unwrap();
        let whole = fs::read(&archive).unwrap();
        for len in 0..whole.len() {
            let folder = tempfile::tempdir().unwrap();
            fs::write(&archive, &whole[..len]).unwrap();
            let error = unpack(&archive, folder.path(), &limits(1000, 1), &mut |_, _| {}).unwrap_err();
            assert!(matches!(error, AssetError::Archive { .. }), "cut at {len}: {error}");
        }
    }
}
