//! A library: found, opened, and what it has.

use std::ffi::{CStr, CString, OsString, c_void};
use std::mem::ManuallyDrop;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use libloading::Library;
use serde::Serialize;

use super::elf;
use super::places::{Places, version};
use super::wanted::{BUILTINS, Wanted};

/// A library that was looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LibraryFound {
    /// How it is called.
    pub name: &'static str,
    /// The file it was opened from; absent if none could be.
    pub path: Option<PathBuf>,
    /// What it says of its version.
    pub version: Option<String>,
    /// Functions that are needed and that it does not have.
    pub missing: Vec<&'static str>,
    /// Files of that name that could not be opened.
    pub rejected: Vec<Rejected>,
}

/// A file that could not be opened as a library.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rejected {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// An open library. It is never closed: drivers start threads and keep addresses.
pub(crate) struct Open(ManuallyDrop<Library>);

impl Open {
    /// Opens a library by its path, or by a name that the system's loader looks for.
    fn new(name: &Path) -> Result<Self, String> {
        // SAFETY: opening runs the library's initialisers. They are those of NVIDIA's libraries, found under their names where the
        // user keeps them, and need nothing of this process. It is never closed, so no finaliser runs early.
        let library = unsafe { Library::new(name) };
        // The loader's message begins with the path, which is told beside it.
        let shown = format!("{}: ", name.display());
        library
            .map(|library| Self(ManuallyDrop::new(library)))
            .map_err(|error| source(&error).replace(&shown, ""))
    }

    /// A function of the library.
    ///
    /// # Safety
    /// `F` is a pointer to a function of that name's signature.
    pub(crate) unsafe fn function<F: Copy>(&self, name: &str) -> Option<F> {
        // SAFETY: the caller says that the symbol is an `F`. The library is never closed, so the copy stays valid.
        unsafe { self.0.get::<F>(name).ok().map(|symbol| *symbol) }
    }

    /// The address of a symbol.
    pub(super) fn address(&self, name: &str) -> Option<*const c_void> {
        // SAFETY: any symbol is an address; it is not called.
        unsafe { self.function::<*const c_void>(name) }.filter(|address| !address.is_null())
    }

    /// The file that a symbol of the library comes from.
    fn path(&self, symbol: &str) -> Option<PathBuf> {
        let address = self.address(symbol)?;
        let mut info = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
        // SAFETY: `dladdr` takes any address and fills `info`, which is as large, before it returns something else than 0;
        // until then it is zero, which is a `Dl_info` too.
        let info = unsafe {
            if libc::dladdr(address, info.as_mut_ptr()) == 0 {
                return None;
            }
            info.assume_init()
        };
        if info.dli_fname.is_null() {
            return None;
        }
        // SAFETY: it is the loader's own string with an end, which lives as long as the library is open.
        let name = unsafe { CStr::from_ptr(info.dli_fname) };
        Some(PathBuf::from(OsString::from_vec(name.to_bytes().to_vec())))
    }
}

/// The loader's own words.
fn source(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// What is told of a library, and the library itself.
pub(super) struct Looked {
    pub(super) told: LibraryFound,
    pub(super) open: Option<Open>,
}

/// Looks for a library.
pub(super) fn find(wanted: &Wanted, places: &Places) -> Looked {
    let mut told = LibraryFound { name: wanted.name, ..LibraryFound::default() };
    let open = open(wanted.files, places, &mut told);
    if let Some(open) = &open {
        told.missing.extend(wanted.symbols.iter().filter(|symbol| open.address(symbol).is_none()));
        told.version = (wanted.version)(open);
        let known = wanted.symbols.iter().find_map(|symbol| open.path(symbol));
        told.path = told.path.take().or(known).or_else(|| Some(PathBuf::from(wanted.files[0])));
    }
    Looked { told, open }
}

/// Opens the first file of those names that can be opened.
fn open(files: &[&str], places: &Places, told: &mut LibraryFound) -> Option<Open> {
    for folder in &places.folders {
        for path in files.iter().map(|file| folder.join(file)) {
            // A link that leads nowhere is worth telling, a file that is not there is not.
            if path.symlink_metadata().is_err() {
                continue;
            }
            match elf::check(&path).and_then(|()| beside(&path)).and_then(|()| Open::new(&path)) {
                Ok(open) => {
                    told.path = Some(path);
                    return Some(open);
                }
                Err(reason) => told.rejected.push(Rejected { path, reason }),
            }
        }
    }
    if !places.loader {
        return None;
    }
    files.iter().find_map(|file| Open::new(Path::new(file)).ok())
}

/// NVRTC of version 13.0 opens its builtins by name, and finds them only if they are open already: opens those beside it.
fn beside(nvrtc: &Path) -> Result<(), String> {
    let is_nvrtc = nvrtc.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libnvrtc.so."));
    if let (true, Some(builtins)) = (is_nvrtc, builtins_in(nvrtc)) {
        elf::check(&builtins).and_then(|()| Open::new(&builtins).map(drop)).map_err(|reason| {
            let name = builtins.file_name().unwrap_or_default().to_string_lossy();
            format!("{name} beside it {reason}")
        })?;
    }
    Ok(())
}

/// The newest builtins beside an NVRTC that are of its major version.
fn builtins_in(nvrtc: &Path) -> Option<PathBuf> {
    let major = nvrtc.file_name()?.to_str()?.strip_prefix("libnvrtc.so.")?.split('.').next()?.parse().ok()?;
    let entries = std::fs::read_dir(nvrtc.parent()?).ok()?.flatten();
    let versions = entries.filter_map(|entry| {
        let version = version(entry.file_name().to_str()?.strip_prefix(BUILTINS)?)?;
        (version.first() == Some(&major) && version.len() == 2).then(|| (version, entry.path()))
    });
    versions.max().map(|(_, path)| path)
}

/// The builtins of an NVRTC: beside it, or where the system's loader finds those of its version.
pub(super) fn builtins(nvrtc: &Looked, places: &Places) -> Looked {
    let mut told = LibraryFound { name: "nvrtc-builtins", ..LibraryFound::default() };
    let found = nvrtc.told.path.as_deref().and_then(builtins_in);
    if let Some(path) = found {
        let name = path.file_name().and_then(|name| name.to_str());
        told.version = name.and_then(|name| name.strip_prefix(BUILTINS)).map(str::to_owned);
        told.path = Some(path);
    } else if let (Some(version), true) = (&nvrtc.told.version, places.loader)
        && let Ok(name) = CString::new(format!("{BUILTINS}{version}"))
        && let Ok(name) = name.into_string()
        && Open::new(Path::new(&name)).is_ok()
    {
        told.version = Some(version.clone());
        told.path = Some(PathBuf::from(name));
    }
    Looked { told, open: None }
}
