//! What it takes to do a run again.

use serde::Serialize;

/// Command, recipe, environment, data and times of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Reproduction {
    /// The exact command line.
    pub command: String,
    /// The resolved recipe as TOML.
    pub recipe: String,
    /// Names and values: versions, commit, seeds, threads, operating system.
    pub environment: Vec<(String, String)>,
    /// Which kernel the compiler chose where.
    pub kernels: Vec<KernelChoice>,
    /// Data and weights that the run read.
    pub assets: Vec<Asset>,
    /// Wall time per phase.
    pub timings: Vec<Timing>,
}

/// One choice of the compiler.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KernelChoice {
    /// Where: a scope or an operation, such as `inject.adapter.amp_project`.
    pub site: String,
    /// Shapes it was chosen for, ready to print; may be empty.
    pub shape: String,
    /// Its name, as in the plan.
    pub kernel: String,
    /// Why, or what it fuses; may be empty.
    pub note: String,
}

/// One file or package that the run read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Asset {
    /// Name and version, such as `easy-vqa 1.0`.
    pub name: String,
    /// Where it came from, such as `PyPI`; may be empty.
    pub source: String,
    /// Size in bytes, if known.
    pub bytes: Option<u64>,
    /// SHA-256 in hexadecimal; empty if it was not computed.
    pub sha256: String,
    /// Licence; empty if it is not known.
    pub licence: String,
}

/// Wall time of one phase.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Timing {
    /// `data`, `compile`, `train`, `eval` or another phase.
    pub phase: String,
    /// The variant it was for, or `None` where the phase serves all.
    pub variant: Option<String>,
    /// Wall time in seconds.
    pub seconds: f64,
}
