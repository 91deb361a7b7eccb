//! What computes.

mod crossloom;
mod luminal;

use std::collections::BTreeMap;
use std::fmt;

use crossloom_run::backends::Backend as Own;

use crate::function::{Function, Values};

/// A backend, luminal's or crossloom's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Backend {
    /// luminal's compiler for the processor.
    LuminalCpu,
    /// luminal's compiler for NVIDIA GPUs.
    LuminalCuda,
    /// crossloom on the processor.
    Cpu,
    /// crossloom on the first NVIDIA GPU.
    Cuda,
}

/// Why there is no result.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// The machine lacks what it takes, or the program does.
    NoDevice(String),
    /// It failed.
    Failed(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDevice(what) => write!(f, "no device: {what}"),
            Self::Failed(what) => f.write_str(what),
        }
    }
}

impl Failure {
    fn of(error: impl fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}

/// A function that is ready to run; its weights are where it runs.
pub(crate) trait Ready {
    /// From inputs to results, both in the memory of the host; results in the order of the function.
    fn run(&mut self, inputs: &BTreeMap<String, Values>) -> Result<Vec<Values>, Failure>;
}

impl Backend {
    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::LuminalCpu => "luminal-cpu",
            Self::LuminalCuda => "luminal-cuda",
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
        }
    }

    /// Compiles a function.
    pub(crate) fn ready(self, function: &Function) -> Result<Box<dyn Ready>, Failure> {
        Ok(match self {
            Self::LuminalCpu => Box::new(luminal::on_cpu(function)?),
            Self::LuminalCuda => Box::new(luminal::on_cuda(function)?),
            Self::Cpu => Box::new(crossloom::Compiled::new(function, Own::Cpu)?),
            Self::Cuda => Box::new(crossloom::Compiled::new(function, Own::Cuda)?),
        })
    }
}
