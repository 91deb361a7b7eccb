//! The backends: the one place outside tests that names their crates.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use crossloom_compiler::{NullTarget, Target};
use crossloom_cpu::{CpuDevice, CpuTarget, Isa, isa};
pub use crossloom_cuda::Generated as CudaSource;
pub use crossloom_cuda::launch::Argument as CudaArgument;
pub use crossloom_cuda::probe::{
    DeviceFound, Driver, Findings as CudaFindings, LibraryFound, Places, Rejected,
};
use crossloom_cuda::{CudaDevice, CudaTarget, GpuDriver};
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
    &CudaTarget
}

/// If set to `1`, every step on a GPU is waited for, so that a fault names the op that made it.
const SYNCHRONOUS: &str = "CROSSLOOM_CUDA_SYNCHRONOUS";

/// The GPU of this process, and its name.
#[derive(Clone)]
struct Gpu {
    device: Arc<CudaDevice>,
    name: String,
}

impl Gpu {
    fn shared() -> Result<Self, RunError> {
        static GPU: OnceLock<Result<Gpu, String>> = OnceLock::new();
        let gpu = GPU.get_or_init(Self::open);
        gpu.clone().map_err(|error| RunError::device("cuda", error))
    }

    fn open() -> Result<Self, String> {
        // Without a folder of caches kernels are compiled anew in every process.
        let folder: Option<PathBuf> = AssetCache::of_user().ok().map(|cache| cache.root().join("cubins"));
        let driver = GpuDriver::open(0, &Places::of_user(), folder).map_err(|error| error.to_string())?;
        let name = driver.name().to_owned();
        let synchronous = std::env::var_os(SYNCHRONOUS).is_some_and(|value| value == "1");
        let device = CudaDevice::new(Arc::new(driver), Budget::unlimited()).synchronous(synchronous);
        Ok(Self { device: Arc::new(device), name })
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
            Self::Cuda => &CudaTarget,
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
            Self::Cuda => Ok("cuda"),
            Self::Null => Ok("none"),
        }
    }
}
