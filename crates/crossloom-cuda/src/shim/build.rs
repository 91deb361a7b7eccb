//! The C++ compiler, and what is built with it.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use libloading::Library;
use tempfile::TempDir;

use super::RawLauncher;

/// Why there is no program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShimError {
    /// There is no C++ compiler: neither the one that `CXX` names, nor `c++`.
    NoCompiler(OsString),
    /// The compiler refuses the source.
    Refused(String),
    /// A file could not be written or opened.
    File(String),
}

impl fmt::Display for ShimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCompiler(name) => {
                write!(f, "there is no C++ compiler `{}`; CXX may name one", name.display())
            }
            Self::Refused(message) => write!(f, "the C++ compiler refuses a kernel:\n{message}"),
            Self::File(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for ShimError {}

/// The system's C++ compiler.
#[derive(Clone, Debug)]
pub struct Compiler(OsString);

impl Compiler {
    /// The one that `CXX` names, or `c++`.
    ///
    /// # Errors
    /// [`ShimError::NoCompiler`] if it cannot be started.
    pub fn of_system() -> Result<Self, ShimError> {
        let name = std::env::var_os("CXX").filter(|name| !name.is_empty()).unwrap_or_else(|| "c++".into());
        let started = Command::new(&name).arg("--version").output();
        if started.is_ok_and(|output| output.status.success()) {
            Ok(Self(name))
        } else {
            Err(ShimError::NoCompiler(name))
        }
    }

    /// Builds a library.
    fn library(&self, source: &Path, others: &[&Path], into: &Path) -> Result<(), ShimError> {
        let mut command = Command::new(&self.0);
        // A fault jumps from a fiber's stack to that of the caller, which a fortified `longjmp` takes for an attack. Kernels read the
        // same bytes as numbers of several types, as on a device.
        command.args(["-std=c++17", "-O1", "-w", "-fPIC", "-shared", "-fvisibility=hidden"]);
        command.args(["-U_FORTIFY_SOURCE", "-fno-strict-aliasing", "-ffp-contract=off", "-o"]);
        let output = command.arg(into).arg(source).args(others).arg("-pthread").output();
        let output = output.map_err(|_| ShimError::NoCompiler(self.0.clone()))?;
        if output.status.success() {
            return Ok(());
        }
        Err(ShimError::Refused(String::from_utf8_lossy(&output.stderr).into_owned()))
    }
}

/// The scheduler, built once per process, in a folder that goes with the process's files.
#[derive(Debug)]
pub(super) struct Runtime {
    compiler: Compiler,
    folder: TempDir,
    file: PathBuf,
    _library: Library,
    pub(super) launcher: RawLauncher,
}

const HEADERS: [(&str, &str); 3] = [
    ("block.h", include_str!("../../shim/block.h")),
    ("runtime.h", include_str!("../../shim/runtime.h")),
    ("device.h", include_str!("../../shim/device.h")),
];
const SOURCES: [(&str, &str); 3] = [
    ("launch.cpp", include_str!("../../shim/launch.cpp")),
    ("schedule.cpp", include_str!("../../shim/schedule.cpp")),
    ("faults.cpp", include_str!("../../shim/faults.cpp")),
];

fn file(error: impl fmt::Display) -> ShimError {
    ShimError::File(error.to_string())
}

impl Runtime {
    pub(super) fn shared() -> Result<&'static Self, ShimError> {
        static RUNTIME: OnceLock<Result<Runtime, ShimError>> = OnceLock::new();
        RUNTIME.get_or_init(Self::new).as_ref().map_err(Clone::clone)
    }

    fn new() -> Result<Self, ShimError> {
        let compiler = Compiler::of_system()?;
        let folder = tempfile::Builder::new().prefix("crossloom-shim-").tempdir().map_err(file)?;
        for (name, text) in HEADERS.into_iter().chain(SOURCES) {
            std::fs::write(folder.path().join(name), text).map_err(file)?;
        }
        let path = folder.path().join("libcrossloom_shim.so");
        let [launch, others @ ..] = SOURCES.map(|(name, _)| folder.path().join(name));
        compiler.library(&launch, &others.each_ref().map(PathBuf::as_path), &path)?;
        // SAFETY: it is our own library, whose initialisers make nothing but numbers; it is never closed.
        let library = unsafe { Library::new(&path) }.map_err(file)?;
        // SAFETY: launch.cpp declares it with this signature. The library stays in the same static as the copy.
        let launcher = unsafe { *library.get::<RawLauncher>("shim_launch").map_err(file)? };
        Ok(Self { compiler, folder, file: path, _library: library, launcher })
    }

    /// Builds kernels.
    pub(super) fn build(&self, source: &str, kernels: &[&str]) -> Result<Library, ShimError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let text = self.folder.path().join(format!("kernels-{number}.cpp"));
        let library = text.with_extension("so");
        let mut whole = format!("#include \"device.h\"\n#line 1 \"kernels\"\n{source}\n");
        for kernel in kernels {
            whole.push_str(&format!("SHIM_EXPORT({kernel})\n"));
        }
        std::fs::write(&text, whole).map_err(file)?;
        self.compiler.library(&text, &[&self.file], &library)?;
        // SAFETY: it is built of kernels and our own header, which have no initialisers, and links the runtime, which is open.
        let opened = unsafe { Library::new(&library) }.map_err(file);
        // An open library needs no file.
        drop((std::fs::remove_file(&text), std::fs::remove_file(&library)));
        opened
    }
}
