//! The limits of a process on Linux, from `/proc`.

use std::path::Path;

use procfs::Current;
use procfs::process::{LimitValue, Process};

use super::{Limit, Source, cgroup};

/// All limits that the system tells of. What cannot be read limits nothing that is known of.
pub(super) fn limits() -> Vec<Limit> {
    let mut limits: Vec<Limit> = available().into_iter().collect();
    let Ok(process) = Process::myself() else { return limits };
    if let (Ok(groups), Ok(mounts)) = (process.cgroups(), process.mountinfo()) {
        let mounts: Vec<_> = mounts.into_iter().collect();
        limits.extend(cgroup::limits(&groups.0, &mounts, Path::new("/")));
    }
    limits.extend(resource_limits(&process));
    limits
}

/// What is in memory of this process: now, and at most so far.
pub(super) fn resident_bytes() -> Option<(u64, u64)> {
    let status = Process::myself().ok()?.status().ok()?;
    Some((1024 * status.vmrss?, 1024 * status.vmhwm?))
}

/// What the allocator of glibc holds and nobody uses goes back.
#[cfg(target_env = "gnu")]
pub(super) fn release_freed() {
    // SAFETY: the function takes the allocator's own locks, and gives back only pages in which nothing is allocated.
    unsafe { libc::malloc_trim(0) };
}

fn available() -> Option<Limit> {
    let memory = procfs::Meminfo::current().ok()?;
    Some(Limit { left: memory.mem_available?, total: memory.mem_total, source: Source::Available })
}

/// Address space and data segment; what the process has of each counts against it.
fn resource_limits(process: &Process) -> Vec<Limit> {
    let (Ok(limits), Ok(used)) = (process.limits(), process.statm()) else { return Vec::new() };
    let page = procfs::page_size();
    [(limits.max_address_space, used.size, "ulimit -v"), (limits.max_data_size, used.data, "ulimit -d")]
        .into_iter()
        .filter_map(|(limit, pages, name)| match limit.soft_limit {
            LimitValue::Unlimited => None,
            LimitValue::Value(total) => {
                let left = total.saturating_sub(pages * page);
                Some(Limit { left, total, source: Source::ResourceLimit(name) })
            }
        })
        .collect()
}
