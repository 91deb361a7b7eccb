//! Kernels on a device: compiled once per source, architecture and compiler, kept on disk, loaded once per process.

use std::any::Any;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use cudarc::driver::{result, sys};

use super::context::{Context, told};
use crate::cubins::{Cubins, whole};
use crate::device::Module;
use crate::launch::Launch;
use crate::nvrtc::Nvrtc;

/// Shared memory that every kernel may ask for; for more it has to be allowed first.
const SHARED: u32 = 48 << 10;

/// A kernel in a device's memory.
pub(super) struct Loaded {
    module: sys::CUmodule,
    pub(super) function: sys::CUfunction,
    context: Arc<Context>,
}

// SAFETY: handles of the driver, which any thread may use.
unsafe impl Send for Loaded {}
// SAFETY: as above.
unsafe impl Sync for Loaded {}

impl Loaded {
    fn new(context: &Arc<Context>, kernel: &str, cubin: &[u8], shared: u32) -> Result<Self, String> {
        context.enter()?;
        // SAFETY: a whole cubin, as NVRTC gave it, whose headers say how long it is; the driver copies it.
        let module = told("cuModuleLoadData", unsafe { result::module::load_data(cubin.as_ptr().cast()) })?;
        let mut this = Self { module, function: std::ptr::null_mut(), context: Arc::clone(context) };
        let name = CString::new(kernel).map_err(|_| format!("`{kernel}` is no name"))?;
        // SAFETY: the module was just loaded.
        let function = unsafe { result::module::get_function(module, name) };
        this.function = told("cuModuleGetFunction", function)?;
        if shared > SHARED {
            let attribute = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function belongs to the module just loaded.
            let set =
                unsafe { result::function::set_function_attribute(this.function, attribute, shared as i32) };
            told("cuFuncSetAttribute", set)?;
        }
        Ok(this)
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        if self.context.finish().is_ok() {
            // SAFETY: loaded once, in `new`, and all that was started is done.
            unsafe { result::module::unload(self.module) }.ok();
        }
    }
}

/// The kernels of some launches, by name.
pub(super) struct GpuModule(pub(super) BTreeMap<String, Arc<Loaded>>);

impl Module for GpuModule {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// Where kernels come from.
pub(super) struct Kernels {
    context: Arc<Context>,
    nvrtc: Nvrtc,
    architecture: String,
    /// Where cubins are kept; none: nowhere.
    kept: Option<Cubins>,
    /// Those that are loaded. A kernel's name carries the hash of its source.
    loaded: Mutex<BTreeMap<String, Arc<Loaded>>>,
}

impl Kernels {
    pub(super) fn new(
        context: &Arc<Context>,
        nvrtc: Nvrtc,
        architecture: String,
        folder: Option<PathBuf>,
    ) -> Self {
        let kept = folder.map(Cubins::new);
        Self { context: Arc::clone(context), nvrtc, architecture, kept, loaded: Mutex::default() }
    }

    /// The kernels of launches; those that are not known yet are compiled side by side.
    ///
    /// # Errors
    /// What the compiler or the driver says of all kernels that it refuses.
    pub(super) fn load(&self, launches: &[&Launch]) -> Result<GpuModule, String> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted: BTreeMap<&str, &Launch> =
            launches.iter().map(|&launch| (launch.kernel.as_str(), launch)).collect();
        let missing: Vec<&Launch> =
            wanted.values().copied().filter(|launch| !loaded.contains_key(&launch.kernel)).collect();
        let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let threads = thread::available_parallelism().map_or(1, usize::from).min(missing.len());
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(launch) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let kernel = self.cubin(launch).and_then(|cubin| {
                            Loaded::new(&self.context, &launch.kernel, &cubin, launch.geometry.shared)
                        });
                        let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                        results.push((launch.kernel.clone(), kernel));
                    }
                });
            }
        });
        let mut errors = BTreeMap::new();
        for (name, kernel) in results.into_inner().unwrap_or_else(PoisonError::into_inner) {
            match kernel {
                Ok(kernel) => drop(loaded.insert(name, Arc::new(kernel))),
                Err(error) => drop(errors.insert(name, error)),
            }
        }
        if !errors.is_empty() {
            let lines = errors.into_iter().map(|(name, error)| format!("kernel `{name}`: {error}"));
            return Err(lines.collect::<Vec<_>>().join("\n"));
        }
        let found =
            wanted.into_keys().filter_map(|name| Some((name.to_owned(), Arc::clone(loaded.get(name)?))));
        Ok(GpuModule(found.collect()))
    }

    fn cubin(&self, launch: &Launch) -> Result<Vec<u8>, String> {
        let (source, compiler) = (whole(&launch.source), self.nvrtc.version());
        if let Some(kept) =
            self.kept.as_ref().and_then(|kept| kept.read(compiler, &self.architecture, &source))
        {
            return Ok(kept);
        }
        let cubin = self.nvrtc.compile(&source, &self.architecture).map_err(|error| error.to_string())?.bytes;
        if let Some(kept) = &self.kept {
            kept.write(compiler, &self.architecture, &source, &cubin)?;
        }
        Ok(cubin)
    }
}
