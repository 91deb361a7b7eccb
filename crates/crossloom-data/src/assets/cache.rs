//! The cache: what is there is checked, what is missing or damaged is fetched.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossloom_files::{FileLock, try_lock};

use super::hash::hash_file;
use super::manifest::{Cached, FILES_FOLDER};
use super::{
    Asset, AssetError, AssetEvent, AssetManifest, ClientError, PackageClient, Pip, Registry, unpack,
};

/// A folder of unpacked packages.
pub struct AssetCache {
    root: PathBuf,
    registry: Registry,
    client: Box<dyn PackageClient>,
}

impl AssetCache {
    /// The cache of this user: `$CROSSLOOM_CACHE`, or `.cache/crossloom` in the home folder, with the built-in registry
    /// and `pip`.
    ///
    /// # Errors
    /// When neither the variable nor a home folder is set.
    pub fn of_user() -> Result<Self, AssetError> {
        let chosen = env::var_os("CROSSLOOM_CACHE").filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = match chosen {
            Some(root) => root,
            None => env::home_dir().ok_or(AssetError::NoCacheFolder)?.join(".cache").join("crossloom"),
        };
        Ok(Self::new(root, Registry::built_in()?, Box::new(Pip::default())))
    }

    /// A cache in a folder, which need not exist yet.
    pub fn new(root: PathBuf, registry: Registry, client: Box<dyn PackageClient>) -> Self {
        Self { root, registry, client }
    }

    /// The cache's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The known packages.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The folder of a package's files, whether it exists or not.
    ///
    /// # Errors
    /// When no package has this name.
    pub fn files_of(&self, name: &str) -> Result<PathBuf, AssetError> {
        Ok(self.folder(self.registry.find(name)?).join(FILES_FOLDER))
    }

    /// The folder of a package's files, fetched and unpacked if needed, every file checked against its hash. `progress`
    /// is told each step. Several processes may call this at once: one works, the others wait. A sound package is found in a cache
    /// that can only be read.
    ///
    /// # Errors
    /// When the name is unknown, the package cannot be fetched (the error tells the manual way), the archive is not the
    /// published one or is unsafe, or the cache cannot be written. The cache is then as it was before.
    pub fn ensure(&self, name: &str, progress: &mut dyn FnMut(AssetEvent)) -> Result<PathBuf, AssetError> {
        self.ensure_until(name, &AtomicBool::new(false), progress)
    }

    /// As [`AssetCache::ensure`], but gives up soon after `stop` is set: a program that fetches is ended.
    ///
    /// # Errors
    /// As there, and [`AssetError::Stopped`].
    pub fn ensure_until(
        &self,
        name: &str,
        stop: &AtomicBool,
        progress: &mut dyn FnMut(AssetEvent),
    ) -> Result<PathBuf, AssetError> {
        let asset = self.registry.find(name)?;
        let folder = self.folder(asset);
        progress(AssetEvent::Checking);
        // A package is put in place whole: one that is sound needs no lock, and no leave to write.
        if !matches!(AssetManifest::verify(&folder, asset), Cached::Sound(_)) {
            self.replace(asset, &folder, stop, progress)?;
        }
        let path = folder.join(FILES_FOLDER);
        progress(AssetEvent::Ready { path: path.clone() });
        Ok(path)
    }

    /// Puts in place what is absent or damaged, unless another process has done so by the time this one has the lock.
    fn replace(
        &self,
        asset: &Asset,
        folder: &Path,
        stop: &AtomicBool,
        progress: &mut dyn FnMut(AssetEvent),
    ) -> Result<(), AssetError> {
        let assets = self.subfolder("assets")?;
        let _lock = lock(&assets.join(format!("{}.lock", asset.id())), stop, progress)?
            .ok_or_else(|| AssetError::Stopped { asset: asset.id() })?;
        match AssetManifest::verify(folder, asset) {
            Cached::Sound(_) => return Ok(()),
            Cached::Absent => {}
            Cached::Damaged(problems) => progress(AssetEvent::Corrupted { problems }),
        }
        self.install(asset, folder, stop, progress)
    }

    /// Where the pretrained model of a package lies that is in the cache. Nothing is fetched.
    ///
    /// # Errors
    /// No package has this name; it holds no model; it is not in the cache, or damaged there.
    pub fn model(&self, name: &str) -> Result<PathBuf, AssetError> {
        let asset = self.registry.find(name)?;
        let Some(model) = &asset.model else { return Err(AssetError::NoModel { asset: asset.id() }) };
        match self.manifest(name)? {
            Some(_) => Ok(self.files_of(name)?.join(model)),
            None => Err(AssetError::NotHere { asset: name.to_owned() }),
        }
    }

    /// The checked manifest of a package that is in the cache; `None` when it is absent or damaged.
    ///
    /// # Errors
    /// When no package has this name.
    pub fn manifest(&self, name: &str) -> Result<Option<AssetManifest>, AssetError> {
        let asset = self.registry.find(name)?;
        Ok(match AssetManifest::verify(&self.folder(asset), asset) {
            Cached::Sound(manifest) => Some(manifest),
            Cached::Absent | Cached::Damaged(_) => None,
        })
    }

    fn folder(&self, asset: &Asset) -> PathBuf {
        self.root.join("assets").join(asset.id())
    }

    fn subfolder(&self, name: &str) -> Result<PathBuf, AssetError> {
        let folder = self.root.join(name);
        fs::create_dir_all(&folder).map_err(AssetError::io("create", &folder))?;
        Ok(folder)
    }

    /// Fetches, checks, unpacks beside the place, and renames into it.
    fn install(
        &self,
        asset: &Asset,
        folder: &Path,
        stop: &AtomicBool,
        progress: &mut dyn FnMut(AssetEvent),
    ) -> Result<(), AssetError> {
        let tmp = self.subfolder("tmp")?;
        let work = tempfile::tempdir_in(&tmp).map_err(AssetError::io("create a folder in", &tmp))?;
        let archive = self.archive(asset, work.path(), stop, progress)?;
        let fresh = work.path().join("unpacked");
        let files = fresh.join(FILES_FOLDER);
        fs::create_dir_all(&files).map_err(AssetError::io("create", &files))?;
        let unpacked = unpack::unpack(&archive, &files, asset, &mut |done, total| {
            progress(AssetEvent::Unpacking { done, total });
        })?;
        AssetManifest::new(asset, unpacked).write(&fresh)?;
        match fs::rename(folder, work.path().join("replaced")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(AssetError::io("move away", folder)(error));
            }
            _ => {}
        }
        fs::rename(&fresh, folder).map_err(AssetError::io("rename the unpacked package to", folder))
    }

    /// An archive with the published hash: one that a person put into `downloads/`, or a fetched one.
    fn archive(
        &self,
        asset: &Asset,
        work: &Path,
        stop: &AtomicBool,
        progress: &mut dyn FnMut(AssetEvent),
    ) -> Result<PathBuf, AssetError> {
        let downloads = self.subfolder("downloads")?;
        let local = downloads.join(&asset.file);
        if local.exists() {
            progress(AssetEvent::LocalArchive { path: local.clone() });
            check_archive(&local, asset)?;
            return Ok(local);
        }
        progress(AssetEvent::Downloading { done: 0, total: asset.bytes });
        self.client
            .fetch(asset, work, stop, &mut |done| {
                progress(AssetEvent::Downloading { done, total: asset.bytes });
            })
            .map_err(|cause| match cause {
                ClientError::Stopped => AssetError::Stopped { asset: asset.id() },
                cause => AssetError::Fetch {
                    asset: format!("{} {}", asset.name, asset.version),
                    cause,
                    manual: format!(
                        "By hand: where there is a network, run\n    {}\nso that {} lies at\n    {}\nand try again.",
                        self.client.command(asset, &downloads),
                        asset.file,
                        local.display()
                    ),
                },
            })?;
        let fetched = work.join(&asset.file);
        check_archive(&fetched, asset)?;
        Ok(fetched)
    }
}

fn check_archive(path: &Path, asset: &Asset) -> Result<(), AssetError> {
    let wrong = |property, found, expected| AssetError::WrongArchive {
        path: path.to_owned(),
        property,
        found,
        expected,
    };
    let size = fs::metadata(path).map_err(AssetError::io("read", path))?.len();
    if size != asset.bytes {
        return Err(wrong("size", size.to_string(), asset.bytes.to_string()));
    }
    let (_, sha256) = hash_file(path).map_err(AssetError::io("read", path))?;
    if sha256 != asset.sha256 {
        return Err(wrong("SHA-256", sha256, asset.sha256.clone()));
    }
    Ok(())
}

/// Holds the package's lock until dropped; `None` where `stop` was set before it was free.
fn lock(
    path: &Path,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(AssetEvent),
) -> Result<Option<FileLock>, AssetError> {
    for attempt in 0.. {
        if let Some(lock) = try_lock(path).map_err(AssetError::io("lock", path))? {
            return Ok(Some(lock));
        }
        if stop.load(Ordering::SeqCst) {
            break;
        }
        match attempt {
            0 => progress(AssetEvent::Waiting),
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    }
    Ok(None)
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
