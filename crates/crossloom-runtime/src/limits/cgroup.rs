//! The memory controllers of control groups, versions 1 and 2.
//!
//! A process is in one group per hierarchy, and every ancestor limits it too. A group's usage counts pages of files that the
//! kernel gives back when memory is short (`inactive_file`), so these are not counted as used.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::{Path, PathBuf};

use procfs::ProcessCGroup;
use procfs::process::MountInfo;

use super::{Limit, Source};

/// Names of the files of one version.
struct Files {
    limit: &'static str,
    usage: &'static str,
    /// Key in `memory.stat` of the bytes that can be reclaimed, descendants included.
    reclaimable: &'static str,
}

const V1: Files = Files {
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    reclaimable: "total_inactive_file",
};
const V2: Files = Files { limit: "memory.max", usage: "memory.current", reclaimable: "inactive_file" };

/// From this on a limit of version 1 means "none": it is the largest number of whole pages.
const NO_LIMIT: u64 = 1 << 60;

/// The limits of every group the process is in, and of its ancestors. Mount points are looked up below `root`.
pub(super) fn limits(groups: &[ProcessCGroup], mounts: &[MountInfo], root: &Path) -> Vec<Limit> {
    let mut limits = Vec::new();
    for group in groups {
        let v2 = group.hierarchy == 0 && group.controllers.iter().all(String::is_empty);
        let files = if v2 { &V2 } else { &V1 };
        let is_mine = |mount: &&MountInfo| {
            if v2 {
                mount.fs_type == "cgroup2"
            } else {
                mount.fs_type == "cgroup" && mount.super_options.contains_key("memory")
            }
        };
        if !v2 && !group.controllers.iter().any(|controller| controller == "memory") {
            continue;
        }
        let Some(mount) = mounts.iter().find(is_mine) else { continue };
        for folder in folders(&group.pathname, mount, root) {
            limits.extend(limit_of(&folder, files));
        }
    }
    limits
}

/// The folders of a group and its ancestors, as far as the mount shows them. In a container the mount may show the group
/// itself as its root, while the path is that of the host.
fn folders(path: &str, mount: &MountInfo, root: &Path) -> Vec<PathBuf> {
    let mount_point = root.join(mount.mount_point.strip_prefix("/").unwrap_or(&mount.mount_point));
    let inside = Path::new(path).strip_prefix(&mount.root).ok();
    let inside = inside.map(|rest| mount_point.join(rest.strip_prefix("/").unwrap_or(rest)));
    let start = inside.filter(|folder| folder.is_dir()).unwrap_or_else(|| mount_point.clone());
    start.ancestors().take_while(|folder| folder.starts_with(&mount_point)).map(Path::to_owned).collect()
}

/// The limit of one group; `None` where it has none.
fn limit_of(folder: &Path, files: &Files) -> Option<Limit> {
    let number = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
    // Version 2 writes `max` where there is no limit, which is no number.
    let total = number(files.limit).filter(|&bytes| bytes < NO_LIMIT)?;
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let reclaimable = stat
        .lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(key, _)| *key == files.reclaimable)
        .and_then(|(_, bytes)| bytes.trim().parse::<u64>().ok())
        .unwrap_or(0);
    let used = number(files.usage).unwrap_or(0).saturating_sub(reclaimable);
    let source = Source::ControlGroup(folder.join(files.limit).display().to_string());
    Some(Limit { left: total.saturating_sub(used), total, source })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use procfs::FromRead;
    use procfs::process::MountInfos;
    use procfs::{FromBufRead, ProcessCGroups};

    use super::*;

    /// A tree of control groups below a folder: what `/proc` says of a process, and files with their contents.
    fn found(groups: &str, mounts: &str, files: &[(&str, &str)]) -> Vec<(u64, u64, String)> {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let groups = ProcessCGroups::from_buf_read(groups.as_bytes()).unwrap();
        let mounts: Vec<_> = MountInfos::from_read(mounts.as_bytes()).unwrap().into_iter().collect();
        let prefix = format!("the control group ({}/", root.path().display());
        let named = |limit: Limit| {
            let source = limit.source.to_string().replace(&prefix, "").replace(')', "");
            (limit.left, limit.total, source)
        };
        limits(&groups.0, &mounts, root.path()).into_iter().map(named).collect()
    }

    const V2_MOUNT: &str = "41 31 0:38 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n";

    #[test]
    fn every_ancestor_of_a_version_2_group_limits() {
        let files = [
            ("sys/fs/cgroup/jobs/memory.max", "4000000000\n"),
            ("sys/fs/cgroup/jobs/memory.current", "3000000000\n"),
            ("sys/fs/cgroup/jobs/memory.stat", "anon 1\ninactive_file 500000000\nactive_file 7\n"),
            ("sys/fs/cgroup/jobs/mine/memory.max", "max\n"),
            ("sys/fs/cgroup/jobs/mine/memory.current", "10\n"),
            ("sys/fs/cgroup/jobs/mine/deep/memory.max", "2000000000\n"),
            ("sys/fs/cgroup/jobs/mine/deep/memory.current", "1000\n"),
        ];
        let limits = found("0::/jobs/mine/deep\n", V2_MOUNT, &files);
        let expected = [
            (1_999_999_000, 2_000_000_000, "sys/fs/cgroup/jobs/mine/deep/memory.max".to_owned()),
            (1_500_000_000, 4_000_000_000, "sys/fs/cgroup/jobs/memory.max".to_owned()),
        ];
        assert_eq!(limits, expected);
    }

    #[test]
    fn version_1_has_a_hierarchy_of_its_own_and_a_number_for_none() {
        let groups = "5:cpu:/elsewhere\n4:memory:/box\n0::/\n";
        let mounts = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let files = [
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "1000000\n"),
            ("sys/fs/cgroup/memory/box/memory.usage_in_bytes", "900000\n"),
            ("sys/fs/cgroup/memory/box/memory.stat", "inactive_file 1\ntotal_inactive_file 400000\n"),
            ("sys/fs/cgroup/cpu/elsewhere/memory.limit_in_bytes", "1\n"),
        ];
        let limits = found(groups, mounts, &files);
        assert_eq!(
            limits,
            [(500_000, 1_000_000, "sys/fs/cgroup/memory/box/memory.limit_in_bytes".to_owned())]
        );
    }

    #[test]
    fn a_container_sees_its_own_group_at_the_mount_point() {
        let mount = "41 31 0:38 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n";
        let files = [("sys/fs/cgroup/memory.max", "5000\n"), ("sys/fs/cgroup/memory.current", "9000\n")];
        let expected = [(0, 5000, "sys/fs/cgroup/memory.max".to_owned())];
        assert_eq!(found("0::/docker/abc\n", mount, &files), expected);
        // With a namespace of its own, the path is relative to what the mount shows.
        assert_eq!(found("0::/\n", mount, &files), expected);
    }

    #[test]
    fn no_controller_no_limit() {
        assert!(found("0::/\n", V2_MOUNT, &[("sys/fs/cgroup/cgroup.procs", "1\n")]).is_empty());
        assert!(found("0::/\n", "", &[]).is_empty());
    }
}
