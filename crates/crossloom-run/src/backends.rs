//! The backends: the one place outside tests that names their crates.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use crossloom_compiler::{NullTarget, Target};
use crossloom_cpu::{CpuDevice, CpuTarget, Isa, isa};
use crossloom_cuda::Driver as CudaDriver;
pub use crossloom_cuda::Generated as CudaSource;
pub use crossloom_cuda::launch::Argument as CudaArgument;
pub use crossloom_cuda::probe::{
    DeviceFound, Driver, Findings as CudaFindings, LibraryFound, Places, Rejected,
};
use crossloom_cuda::product::Chosen;
use crossloom_cuda::{Choice, CudaDevice, CudaTarget, GpuDriver};
use crossloom_data::assets::AssetCache;
use crossloom_runtime::{Budget, Device, NullDevice, RunError};

use crate::{ExperimentError, PictureBudget};

/// What recipes are compiled for and run on, as `--backend` names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// The processor, until CUDA's kernels were measured on a GPU: so far they were run and compared without one.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// The first NVIDIA GPU.
    Cuda,
    /// Plans and tells costs, and runs nothing.
    Null,
}

/// CUDA, for which recipes can be compiled and shown on any machine.
pub(crate) fn cuda() -> &'static dyn Target {
    &CudaTarget::OWN
}

/// If set to `1`, every step on a GPU is waited for, so that a fault names the op that made it.
const SYNCHRONOUS: &str = "CROSSLOOM_CUDA_SYNCHRONOUS";

/// What computes matrix products on a GPU: `library` (the default), cuBLASLt with the algorithm that it thinks the fastest; `measured`,
/// with the one that is the fastest here; `own`, kernels of crossloom.
const PRODUCTS: &str = "CROSSLOOM_CUDA_PRODUCTS";

/// If set to `1`, cuBLASLt rounds operands in `f32` to TF32.
const TF32: &str = "CROSSLOOM_CUDA_TF32";

/// How products are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    /// None: by crossloom's own kernels.
    library: Option<Choice>,
    tf32: bool,
}

impl Asked {
    fn of(variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Self, String> {
        let tf32 = variable(TF32).is_some_and(|value| value == "1");
        let library = match variable(PRODUCTS) {
            None => Some(Choice::First),
            Some(value) => match value.to_str() {
                Some("library") => Some(Choice::First),
                Some("measured") => Some(Choice::Measured),
                Some("own") => None,
                _ => {
                    return Err(format!(
                        "{PRODUCTS} is {}; it may be library, measured or own",
                        value.display()
                    ));
                }
            },
        };
        if tf32 && library.is_none() {
            return Err(format!("{TF32}=1 needs the library, and {PRODUCTS} is own"));
        }
        Ok(Self { library, tf32 })
    }
}

/// The GPU of this process, and its name.
#[derive(Clone)]
struct Gpu {
    driver: Arc<GpuDriver>,
    device: Arc<CudaDevice>,
    name: String,
    instruction_set: &'static str,
    /// Why products are computed by crossloom's own kernels though the library was asked for.
    without_library: Option<String>,
}

impl Gpu {
    fn shared() -> Result<Self, RunError> {
        static GPU: OnceLock<Result<Gpu, String>> = OnceLock::new();
        let gpu = GPU.get_or_init(Self::open);
        gpu.clone().map_err(|error| RunError::device("cuda", error))
    }

    fn open() -> Result<Self, String> {
        // Without a folder of caches kernels are compiled anew in every process.
        let cache: Option<PathBuf> = AssetCache::of_user().ok().map(|cache| cache.root().to_owned());
        let folder = |name: &str| cache.as_ref().map(|cache| cache.join(name));
        let (places, asked) = (Places::of_user(), Asked::of(&|name| std::env::var_os(name))?);
        let driver = GpuDriver::open(0, &places, folder("cubins")).map_err(|error| error.to_string())?;
        let (driver, set, without_library) = match asked.library {
            None => (driver, "cuda", None),
            Some(choice) => match driver.with_library(&places, choice, asked.tf32, folder("products")) {
                Ok(driver) if asked.tf32 => (driver, "cuda-cublaslt-tf32", None),
                Ok(driver) => (driver, "cuda-cublaslt", None),
                Err((_, reason)) if asked.tf32 => {
                    return Err(format!("{TF32}=1 needs the library: {reason}"));
                }
                Err((driver, reason)) => (*driver, "cuda", Some(reason)),
            },
        };
        let name = driver.name().to_owned();
        let synchronous = std::env::var_os(SYNCHRONOUS).is_some_and(|value| value == "1");
        let driver = Arc::new(driver);
        let device = CudaDevice::new(Arc::clone(&driver) as Arc<dyn CudaDriver>, Budget::unlimited());
        let device = Arc::new(device.synchronous(synchronous));
        Ok(Self { driver, device, name, instruction_set: set, without_library })
    }
}

/// How a recipe is run on this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// What computes.
    pub backend: Backend,
    /// Whether to go on where the memory is known not to suffice.
    pub force_memory: bool,
    /// The most bytes that the process may hold; none: what the machine gives. A training step that needs more computes values
    /// again, which changes no number.
    pub budget: Option<u64>,
    /// How many positions of a prompt are read at once when questions are answered; `None` is all of them. Answers are the
    /// same; fewer need less memory. A recipe whose gate pools the prompt allows none but all.
    pub chunk: Option<usize>,
    /// How much of encoded pictures is kept.
    pub pictures: PictureBudget,
}

impl Backend {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Cpu, Self::Cuda, Self::Null];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Null => "null",
        }
    }

    /// What it is, in a line.
    pub fn about(self) -> &'static str {
        match self {
            Self::Auto => "the processor, until GPUs were measured",
            Self::Cpu => "the processor",
            Self::Cuda => "the first NVIDIA GPU",
            Self::Null => "plans and tells costs, runs nothing",
        }
    }

    /// What the compiler has to know of it.
    pub fn target(self) -> &'static dyn Target {
        match self {
            Self::Auto | Self::Cpu => &CpuTarget,
            Self::Cuda => &CudaTarget::OWN,
            Self::Null => &NullTarget,
        }
    }

    /// The device, which need not be able to run anything.
    ///
    /// # Errors
    /// This machine has no such device, or lacks what it takes to run on it: all of it is told.
    pub fn device(self) -> Result<Arc<dyn Device>, RunError> {
        Ok(match self {
            Self::Auto | Self::Cpu => CpuDevice::shared(),
            Self::Cuda => Gpu::shared()?.device,
            Self::Null => Arc::new(NullDevice::default()),
        })
    }

    /// Name of the device where it is not the processor.
    ///
    /// # Errors
    /// As [`Backend::device`].
    pub fn device_name(self) -> Result<Option<String>, RunError> {
        match self {
            Self::Cuda => Ok(Some(Gpu::shared()?.name)),
            Self::Auto | Self::Cpu | Self::Null => Ok(None),
        }
    }

    /// What a reader of a run must know of how the device computes; nothing of the processor.
    ///
    /// # Errors
    /// As [`Backend::device`].
    pub fn notes(self) -> Result<Vec<String>, RunError> {
        let Self::Cuda = self else { return Ok(Vec::new()) };
        let without = Gpu::shared()?.without_library;
        let told = without.map(|reason| format!("matrix products are crossloom's own kernels: {reason}"));
        Ok(told.into_iter().collect())
    }

    /// The algorithms that were chosen so far for products that a library computes.
    ///
    /// # Errors
    /// As [`Backend::device`].
    pub fn chosen(self) -> Result<Vec<Chosen>, RunError> {
        match self {
            Self::Cuda => Ok(Gpu::shared()?.driver.chosen()),
            Self::Auto | Self::Cpu | Self::Null => Ok(Vec::new()),
        }
    }

    /// The device, once it has shown that it runs.
    ///
    /// # Errors
    /// It runs nothing, or the environment asks for an instruction set that this machine does not have.
    pub fn running(self) -> Result<Arc<dyn Device>, ExperimentError> {
        let device = self.device()?;
        drop(device.queue()?);
        Ok(device)
    }

    /// The instruction set of the device's kernels.
    ///
    /// # Errors
    /// The environment asks for one that this machine does not have, or for none that is known.
    pub fn instruction_set(self) -> Result<&'static str, RunError> {
        match self {
            Self::Auto | Self::Cpu => {
                isa().map(Isa::name).map_err(|error| RunError::device("cpu", error.to_string()))
            }
            Self::Cuda => Ok(Gpu::shared()?.instruction_set),
            Self::Null => Ok("none"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn products_are_asked_for_by_name() {
        let asked = |products: Option<&str>, tf32: &str| {
            let value = |name: &str| if name == PRODUCTS { products } else { Some(tf32) };
            Asked::of(&|name| value(name).map(OsString::from))
        };
        let library = |library, tf32| Ok(Asked { library, tf32 });
        assert_eq!(asked(None, ""), library(Some(Choice::First), false));
        assert_eq!(asked(Some("library"), "1"), library(Some(Choice::First), true));
        assert_eq!(asked(Some("measured"), "0"), library(Some(Choice::Measured), false));
        assert_eq!(asked(Some("own"), ""), library(None, false));
        let told = "CROSSLOOM_CUDA_PRODUCTS is fast; it may be library, measured or own";
        assert_eq!(asked(Some("fast"), ""), Err(told.to_owned()));
        assert_eq!(
            asked(Some("own"), "1").unwrap_err(),
            "CROSSLOOM_CUDA_TF32=1 needs the library, and CROSSLOOM_CUDA_PRODUCTS is own"
        );
    }
}
