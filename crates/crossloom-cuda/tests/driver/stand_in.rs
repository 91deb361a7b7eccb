//! Libraries that stand for NVIDIA's, built of this folder's C++ and of the shim.

use std::ffi::{CString, OsStr, c_char, c_int};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crossloom_cuda::probe::Places;
use libloading::Library;

/// The libraries, and where they lie.
pub(crate) struct StandIn {
    folder: PathBuf,
    cuda: Library,
    nvrtc: Library,
    products: Library,
}

impl StandIn {
    /// The one of this process, for one test at a time: failures and counts are its own.
    pub(crate) fn take() -> (&'static Self, MutexGuard<'static, ()>) {
        static ONE: OnceLock<StandIn> = OnceLock::new();
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let this = ONE.get_or_init(Self::build);
        this.fail("");
        (this, turn)
    }

    fn build() -> Self {
        // The libraries stay open, so their folder stays until the system clears it.
        Self::build_in(tempfile::Builder::new().prefix("crossloom-stand-in-").tempdir().unwrap().keep())
    }

    /// Builds them in a folder that is there.
    pub(crate) fn build_in(folder: PathBuf) -> Self {
        let own = Path::new(env!("CARGO_MANIFEST_DIR"));
        let (shim, texts) = (own.join("shim"), own.join("tests/driver"));
        let library = |name: &str, sources: &[PathBuf], more: &[String]| {
            let path = folder.join(name);
            let mut command = Command::new(compiler());
            command.args(["-std=c++17", "-O1", "-w", "-fPIC", "-shared", "-U_FORTIFY_SOURCE", "-pthread"]);
            command
                .arg(format!("-Wl,-soname,{name}"))
                .arg("-I")
                .arg(&shim)
                .args(more)
                .arg("-o")
                .arg(&path)
                .args(sources);
            let output = command.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            // SAFETY: it is built of our own sources, whose initialisers make nothing but empty lists; it is never closed.
            unsafe { Library::new(&path) }.unwrap()
        };
        let runtime = ["launch.cpp", "schedule.cpp", "faults.cpp"].map(|name| shim.join(name));
        let cuda = library("libcuda.so.1", &[&[texts.join("libcuda.cpp")][..], &runtime].concat(), &[]);
        let define = |name: &str, value: &Path| format!("-D{name}=\"{}\"", value.display());
        let more = [define("FOLDER", &folder), define("SHIM", &shim), define("CXX", Path::new(&compiler()))];
        let nvrtc = library("libnvrtc.so.13", &[texts.join("libnvrtc.cpp")], &more);
        let sources = [texts.join("libcublaslt.cpp"), folder.join("libcuda.so.1")];
        let products = library("libcublasLt.so.13", &sources, &[]);
        Self { folder, cuda, nvrtc, products }
    }

    /// Where the libraries are found.
    pub(crate) fn places(&self) -> Places {
        Places { folders: vec![self.folder.clone()], loader: false }
    }

    /// How often a function of the driver was called.
    pub(crate) fn calls(&self, function: &str) -> c_int {
        let name = CString::new(function).unwrap();
        // SAFETY: libcuda.cpp declares it so.
        let count = unsafe {
            *self.cuda.get::<unsafe extern "C" fn(*const c_char) -> c_int>("stand_in_count").unwrap()
        };
        // SAFETY: the name has an end and outlives the call.
        unsafe { count(name.as_ptr()) }
    }

    /// How often a function of the library of products was called.
    pub(crate) fn asked(&self, function: &str) -> c_int {
        let name = CString::new(function).unwrap();
        // SAFETY: libcublaslt.cpp declares it so.
        let count = unsafe {
            *self.products.get::<unsafe extern "C" fn(*const c_char) -> c_int>("stand_in_products").unwrap()
        };
        // SAFETY: the name has an end and outlives the call.
        unsafe { count(name.as_ptr()) }
    }

    /// Makes kernels fail whose names begin so, none if that is empty, and forgets an earlier failure.
    pub(crate) fn fail(&self, start: &str) {
        let start = CString::new(start).unwrap();
        // SAFETY: libcuda.cpp declares it so.
        let fail = unsafe { *self.cuda.get::<unsafe extern "C" fn(*const c_char)>("stand_in_fail").unwrap() };
        // SAFETY: as above.
        unsafe { fail(start.as_ptr()) };
    }

    /// How many programs were compiled.
    pub(crate) fn compiled(&self) -> c_int {
        // SAFETY: libnvrtc.cpp declares it so.
        unsafe { self.nvrtc.get::<unsafe extern "C" fn() -> c_int>("stand_in_compiled").unwrap()() }
    }
}

fn compiler() -> std::ffi::OsString {
    std::env::var_os("CXX").filter(|name| !name.is_empty()).unwrap_or_else(|| OsStr::new("c++").to_owned())
}
