//! The backends: the one place outside tests that names their crates.

use std::sync::Arc;

use crossloom_compiler::{NullTarget, Target};
use crossloom_cpu::{CpuDevice, CpuTarget, Isa, isa};
use crossloom_cuda::CudaTarget;
pub use crossloom_cuda::Generated as CudaSource;
pub use crossloom_cuda::launch::Argument as CudaArgument;
pub use crossloom_cuda::probe::{DeviceFound, Driver, Findings as CudaFindings, LibraryFound, Rejected};
use crossloom_runtime::{Device, NullDevice, RunError};

use crate::{ExperimentError, PictureBudget};

/// What recipes are compiled for and run on, as `--backend` names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// The best one that this machine has: so far always the processor.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// Plans and tells costs, and runs nothing.
    Null,
}

/// CUDA, for which recipes are compiled and shown, and which nothing runs on yet.
pub(crate) fn cuda() -> &'static dyn Target {
    &CudaTarget
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
    pub const ALL: [Self; 3] = [Self::Auto, Self::Cpu, Self::Null];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::Null => "null",
        }
    }

    /// What it is, in a line.
    pub fn about(self) -> &'static str {
        match self {
            Self::Auto => "the best one that this machine has",
            Self::Cpu => "the processor",
            Self::Null => "plans and tells costs, runs nothing",
        }
    }

    /// What the compiler has to know of it.
    pub fn target(self) -> &'static dyn Target {
        match self {
            Self::Auto | Self::Cpu => &CpuTarget,
            Self::Null => &NullTarget,
        }
    }

    /// The device, which need not be able to run anything.
    pub fn device(self) -> Arc<dyn Device> {
        match self {
            Self::Auto | Self::Cpu => CpuDevice::shared(),
            Self::Null => Arc::new(NullDevice::default()),
        }
    }

    /// The device, once it has shown that it runs.
    ///
    /// # Errors
    /// It runs nothing, or the environment asks for an instruction set that this machine does not have.
    pub fn running(self) -> Result<Arc<dyn Device>, ExperimentError> {
        let device = self.device();
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
            Self::Null => Ok("none"),
        }
    }
}
