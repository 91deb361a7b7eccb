//! The driver of NVIDIA's GPUs, through `cudarc`.
//!
//! `cudarc` panics where a library or a function of it is not there. So the probe looks first, for every function that is used here, and
//! nothing is called before it found them all.

mod context;
mod library;
mod module;
mod pinned;
mod products;
mod stream;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use cudarc::driver::{result, sys};

use super::driver::{Driver, Module, Stream};
use crate::launch::Launch;
use crate::nvrtc::Nvrtc;
use crate::probe::{self, Places, probe};
use crate::product::{Chosen, Product, Products};
use context::{Context, told};
use library::Library;
use module::Kernels;
use pinned::Pool;
pub use products::Choice;
use products::GpuProducts;
use stream::GpuStream;

/// The oldest devices that kernels are written for.
const CAPABILITY: (u32, u32) = (8, 0);

/// Why there is no GPU to run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GpuError {
    /// Something that is needed is not there, or does not work: all of it, one sentence each.
    Obstacles(Vec<String>),
    /// There is no device of that number.
    NoDevice {
        /// The number that was asked for.
        ordinal: usize,
        /// How many devices there are.
        devices: usize,
    },
    /// The device is older than kernels are written for.
    TooOld {
        /// Its name.
        name: String,
        /// Its compute capability.
        capability: (u32, u32),
    },
    /// A call of the driver failed.
    Failed(String),
}

impl fmt::Display for GpuError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Obstacles(all) => {
                write!(
                    f,
                    "this machine cannot run CUDA kernels: {}; `crossloom doctor` says where it looked",
                    all.join("; ")
                )
            }
            Self::NoDevice { ordinal, devices } => {
                write!(f, "there is no device {ordinal}; the driver knows {devices}")
            }
            Self::TooOld { name, capability: (major, minor) } => {
                let (least_major, least_minor) = CAPABILITY;
                write!(
                    f,
                    "{name} has compute capability {major}.{minor}; kernels need {least_major}.{least_minor}"
                )
            }
            Self::Failed(what) => write!(f, "the CUDA driver fails: {what}"),
        }
    }
}

impl std::error::Error for GpuError {}

/// A GPU.
pub struct GpuDriver {
    name: String,
    architecture: String,
    context: Arc<Context>,
    kernels: Kernels,
    pool: Arc<Pool>,
    memory: Option<u64>,
    /// The library of products and whether it rounds operands, if it is used.
    products: Option<(GpuProducts, bool)>,
}

impl fmt::Debug for GpuDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GpuDriver({})", self.name)
    }
}

impl GpuDriver {
    /// The device of that number, with the libraries that are found there. Cubins are kept in the folder, by all that they depend on.
    ///
    /// # Errors
    /// See [`GpuError`]. Nothing panics, whatever is missing.
    pub fn open(ordinal: usize, places: &Places, folder: Option<PathBuf>) -> Result<Self, GpuError> {
        let findings = probe(places);
        let obstacles = findings.obstacles_of(&["libcuda", "nvrtc"]);
        if !obstacles.is_empty() {
            return Err(GpuError::Obstacles(obstacles));
        }
        let devices = findings.driver.devices;
        let missing = GpuError::NoDevice { ordinal, devices: devices.len() };
        let found = devices.into_iter().nth(ordinal).ok_or(missing)?;
        let name = found.name.unwrap_or_else(|| format!("device {ordinal}"));
        let capability = found.compute_capability.unwrap_or_default();
        if capability < CAPABILITY {
            return Err(GpuError::TooOld { name, capability });
        }
        let nvrtc = Nvrtc::find(places).map_err(|error| GpuError::Obstacles(vec![error.to_string()]))?;
        // SAFETY: opening a library that is open already runs nothing.
        let same = unsafe { sys::is_culib_present() && probe::is_driver(places, sys::culib()) };
        if !same {
            let all =
                vec!["the system's loader finds another libcuda than the one that was looked at".to_owned()];
            return Err(GpuError::Obstacles(all));
        }
        told("cuInit", result::init()).map_err(GpuError::Failed)?;
        let context = i32::try_from(ordinal).map_err(|error| error.to_string()).and_then(Context::of);
        let context = context.map_err(GpuError::Failed)?;
        // What belongs to one architecture alone, such as wgmma, is compiled for 9.0.
        let (major, minor) = capability;
        let architecture = format!("sm_{major}{minor}{}", if capability == (9, 0) { "a" } else { "" });
        let kernels = Kernels::new(&context, nvrtc, architecture.clone(), folder);
        let pool = Arc::new(Pool::new(&context));
        Ok(Self { name, architecture, context, kernels, pool, memory: found.memory, products: None })
    }

    /// The same with matrix products by cuBLASLt. Which algorithm computes a product is kept in the folder, so that every process takes
    /// the same one.
    ///
    /// # Errors
    /// Why it cannot be used; the driver is given back as it was.
    pub fn with_library(
        self,
        places: &Places,
        choice: Choice,
        tf32: bool,
        folder: Option<PathBuf>,
    ) -> Result<Self, (Box<Self>, String)> {
        match Library::open(&self.context, places) {
            Ok(library) => {
                let device = format!("{} ({})", self.name, self.architecture);
                let products = GpuProducts::new(library, &self.context, choice, device, folder);
                Ok(Self { products: Some((products, tf32)), ..self })
            }
            Err(reason) => Err((Box::new(self), reason)),
        }
    }

    /// The algorithms of the library that were chosen so far, sorted by the product's name.
    pub fn chosen(&self) -> Vec<Chosen> {
        self.products.as_ref().map_or_else(Vec::new, |(products, _)| products.chosen())
    }

    /// The device's name, as its driver says it.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Driver for GpuDriver {
    fn allocate(&self, bytes: usize) -> Result<u64, String> {
        self.context.enter()?;
        // SAFETY: the context is current; whoever reads the memory writes it first.
        let memory = told("cuMemAlloc", unsafe { result::malloc_sync(bytes) });
        memory.map_err(|error| {
            let free = self.free_memory().map_or_else(String::new, |free| format!(", {free} are free"));
            format!("{error} ({bytes} bytes were asked for{free})")
        })
    }

    unsafe fn free(&self, address: u64) {
        if self.context.finish().is_ok() {
            // SAFETY: the caller says that it comes from `allocate`; all that was started is done.
            unsafe { result::free_sync(address) }.ok();
        }
    }

    fn load(&self, launches: &[&Launch]) -> Result<Arc<dyn Module>, String> {
        Ok(Arc::new(self.kernels.load(launches)?))
    }

    fn products(&self) -> Products {
        self.products.as_ref().map_or(Products::Own, |(_, tf32)| Products::Library { tf32: *tf32 })
    }

    fn product(&self, product: &Product) -> Result<Arc<dyn Module>, String> {
        let (products, _) = self.products.as_ref().ok_or("this driver has no library of products")?;
        Ok(products.ready(product, || GpuStream::new(&self.pool))?)
    }

    fn stream(&self) -> Result<Box<dyn Stream>, String> {
        Ok(Box::new(GpuStream::new(&self.pool)?))
    }

    fn free_memory(&self) -> Option<u64> {
        self.context.enter().ok()?;
        result::mem_get_info().ok().map(|(free, _)| free as u64)
    }

    fn total_memory(&self) -> Option<u64> {
        self.memory
    }
}
