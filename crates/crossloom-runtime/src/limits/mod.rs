//! How much memory a run may have: what the machine, the container and the shell allow, and whether a need fits.
//!
//! [`Limit::all`] asks everything that can stop a process from having memory: the machine's available memory, the memory
//! controllers of the process's control groups (versions 1 and 2, at every level up to the root), and the resource limits of
//! the process. A [`Need`] lists what a run holds at once; [`Need::check`] compares it with the tightest limit *before*
//! anything is allocated or written.

mod cgroup;
#[cfg(target_os = "linux")]
mod linux;
mod need;

use std::fmt;

use serde::Serialize;

pub use need::{COPIES, DoesNotFit, Need};

/// Bytes of this process that are in memory now; `None` where the system does not tell.
pub fn resident_bytes() -> Option<u64> {
    #[cfg(target_os = "linux")]
    return linux::resident_bytes().map(|(now, _)| now);
    #[cfg(not(target_os = "linux"))]
    None
}

/// The most bytes of this process that have been in memory at one time; `None` where the system does not tell.
pub fn peak_resident_bytes() -> Option<u64> {
    #[cfg(target_os = "linux")]
    return linux::resident_bytes().map(|(_, peak)| peak);
    #[cfg(not(target_os = "linux"))]
    None
}

/// Gives memory that was freed back to the system, where the allocator keeps it for later.
///
/// Building and compiling a model takes and frees many small pieces; what they leave would count as the process's, beside the
/// weights that come next, for as long as it runs.
pub fn release_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    linux::release_freed();
}

/// What sets a limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "of")]
pub enum Source {
    /// Memory that the system can give without swapping.
    Available,
    /// The memory controller of a control group; the file that sets it.
    ControlGroup(String),
    /// A resource limit of the process, by the letter that `ulimit` has for it and its name.
    ResourceLimit(&'static str),
    /// What a device has, by the device's name.
    Device(String),
    /// What the caller allowed.
    Budget,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Available => f.write_str("the machine's available memory"),
            Self::ControlGroup(file) => write!(f, "the control group ({file})"),
            Self::ResourceLimit(name) => write!(f, "the resource limit `{name}`"),
            Self::Device(name) => write!(f, "the memory of device `{name}`"),
            Self::Budget => f.write_str("the memory budget that was given"),
        }
    }
}

/// How many more bytes this process may have, and who says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// Bytes that are left to this process: the limit less what is in use and cannot be reclaimed.
    pub left: u64,
    /// The limit itself, in bytes.
    pub total: u64,
    /// What sets it.
    pub source: Source,
}

impl Limit {
    /// All limits of this process, the tightest first. Empty where the system does not tell.
    pub fn all() -> Vec<Self> {
        #[cfg(target_os = "linux")]
        let mut limits = linux::limits();
        #[cfg(not(target_os = "linux"))]
        let mut limits: Vec<Self> = Vec::new();
        limits.sort_by_key(|limit| limit.left);
        limits
    }

    /// The tightest limit of this process.
    pub fn tightest() -> Option<Self> {
        Self::all().into_iter().next()
    }

    /// A budget that a person gave for the whole run.
    pub fn budget(bytes: u64) -> Self {
        Self { left: bytes, total: bytes, source: Source::Budget }
    }
}
