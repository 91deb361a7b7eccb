//! The probe on machines that have all of CUDA, some of it, none of it, or something else under its names.

#![allow(clippy::unwrap_used, clippy::expect_used)]
#![cfg(target_os = "linux")]

mod fakes;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crossloom_cuda::probe::{Findings, LibraryFound, Places, probe};
use fakes::{build, driver, has_compiler, nvrtc, products};

/// What is found in those folders alone.
fn found_in(folders: &[&Path]) -> Findings {
    probe(&Places { folders: folders.iter().map(|&folder| folder.to_owned()).collect(), loader: false })
}

fn library<'f>(findings: &'f Findings, name: &str) -> &'f LibraryFound {
    findings.libraries.iter().find(|library| library.name == name).unwrap()
}

/// A folder in which everything is.
fn complete(folder: &Path) {
    build(&folder.join("libcuda.so.1"), &driver(0, 2, &[]));
    build(&folder.join("libnvrtc.so.13"), &nvrtc(13, 0, &[]));
    build(&folder.join("libnvrtc-builtins.so.13.0"), "int builtins;");
    build(&folder.join("libcublasLt.so.13"), &products(130_103));
}

#[test]
fn a_machine_with_everything_is_told_whole() {
    if !has_compiler() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    complete(folder.path());
    let findings = found_in(&[folder.path()]);
    let told: Vec<_> = (findings.libraries.iter())
        .map(|library| (library.name, library.version.as_deref(), library.path.clone().unwrap()))
        .collect();
    let file = |name: &str| folder.path().join(name);
    assert_eq!(
        told,
        [
            ("libcuda", Some("13.1"), file("libcuda.so.1")),
            ("nvrtc", Some("13.0"), file("libnvrtc.so.13")),
            ("nvrtc-builtins", Some("13.0"), file("libnvrtc-builtins.so.13.0")),
            ("cublasLt", Some("13.1.3"), file("libcublasLt.so.13")),
        ]
    );
    assert!(
        findings.libraries.iter().all(|library| library.missing.is_empty() && library.rejected.is_empty())
    );
    assert_eq!(findings.obstacles(), Vec::<String>::new());
    assert_eq!(findings.driver.problem, None);
    let [first, second] = findings.driver.devices.as_slice() else { panic!("{findings:?}") };
    assert_eq!(first.name.as_deref(), Some("NVIDIA Test 90"));
    assert_eq!(first.compute_capability, Some((9, 0)));
    assert_eq!((first.memory, first.multiprocessors), (Some(150_754_820_096), Some(132)));
    assert_eq!(first.shared_memory, Some(232_448));
    // A driver that answers nonsense about a device: what makes no sense is unknown, not believed.
    assert_eq!((second.compute_capability, second.memory, second.multiprocessors), (None, None, None));
    assert!(second.name.as_ref().is_some_and(|name| name.chars().all(|letter| letter == '\u{fffd}')));
    // Asked twice, it says the same.
    assert_eq!(found_in(&[folder.path()]), findings);
}

#[test]
fn a_machine_with_nothing_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    for findings in [found_in(&[]), found_in(&[folder.path()]), found_in(&[Path::new("/no/such/folder")])] {
        assert!(
            findings.libraries.iter().all(|library| library.path.is_none() && library.rejected.is_empty())
        );
        assert_eq!(findings.driver.problem.as_deref(), Some("there is no driver"));
        let obstacles = findings.obstacles();
        for name in ["libcuda", "nvrtc", "nvrtc-builtins", "cublasLt"] {
            assert!(obstacles.contains(&format!("{name} was not found")), "{obstacles:?}");
        }
    }
    // Whatever this machine has, asking for it does not fail.
    let findings = probe(&Places::of_user());
    assert_eq!(findings.libraries.len(), 4);
}

#[test]
fn every_missing_function_is_named() {
    if !has_compiler() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    build(&folder.path().join("libcuda.so.1"), &driver(0, 1, &["cuGraphLaunch", "cuEventQuery"]));
    build(&folder.path().join("libnvrtc.so.13"), &nvrtc(13, 0, &["nvrtcGetCUBIN"]));
    build(&folder.path().join("libcublasLt.so.13"), "int unrelated;");
    let findings = found_in(&[folder.path()]);
    assert_eq!(library(&findings, "libcuda").missing, ["cuEventQuery", "cuGraphLaunch"]);
    assert_eq!(library(&findings, "nvrtc").missing, ["nvrtcGetCUBIN"]);
    let products = library(&findings, "cublasLt");
    assert_eq!((products.missing.len(), &products.version), (15, &None));
    assert!(findings.obstacles().contains(&"nvrtc lacks nvrtcGetCUBIN".to_owned()));
    // The driver works all the same.
    assert_eq!(findings.driver.devices.len(), 1);
}

#[test]
fn a_driver_that_does_not_start_says_why() {
    if !has_compiler() {
        return;
    }
    for (start, count, problem) in [
        (100, 1, "cuInit failed: CUDA_ERROR_NO_DEVICE"),
        (-7, 1, "cuInit failed: error -7"),
        (0, -1, "the driver says that there are -1 devices"),
        (0, i32::MAX, "the driver says that there are 2147483647 devices"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        build(&folder.path().join("libcuda.so.1"), &driver(start, count, &[]));
        let findings = found_in(&[folder.path()]);
        assert_eq!(findings.driver.problem.as_deref(), Some(problem));
        assert!(findings.driver.devices.is_empty());
        assert!(findings.obstacles().contains(&problem.to_owned()));
    }
}

#[test]
fn a_broken_file_is_told_and_the_next_folder_is_used() {
    if !has_compiler() {
        return;
    }
    let good = tempfile::tempdir().unwrap();
    complete(good.path());
    let whole = std::fs::read(good.path().join("libcuda.so.1")).unwrap();
    let with = |at: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        bytes
    };
    let cases: [(&str, Vec<u8>); 9] = [
        ("is no library", Vec::new()),
        ("is no library", b"<html>not found</html>".to_vec()),
        ("is cut short", whole[..20].to_vec()),
        ("is cut short", whole[..80].to_vec()),
        ("is cut short", whole[..whole.len() / 4].to_vec()),
        ("is made for another processor", with(18, 0x28)),
        ("is made for another processor", with(4, 1)),
        ("no linker writes", with(55, 0xff)),
        ("is no library", with(16, 1)),
    ];
    for (reason, bytes) in cases {
        let bad = tempfile::tempdir().unwrap();
        std::fs::write(bad.path().join("libcuda.so.1"), bytes).unwrap();
        let findings = found_in(&[bad.path(), good.path()]);
        let driver = library(&findings, "libcuda");
        assert_eq!(driver.path, Some(good.path().join("libcuda.so.1")));
        let [rejected] = driver.rejected.as_slice() else { panic!("{driver:?}") };
        assert!(rejected.reason.contains(reason), "`{}` does not say `{reason}`", rejected.reason);
        assert_eq!(findings.driver.devices.len(), 2);
    }
    // What is no file, and a library that needs another one that is not there.
    let bad = tempfile::tempdir().unwrap();
    std::fs::create_dir(bad.path().join("libcuda.so.1")).unwrap();
    std::os::unix::fs::symlink("/no/such/file", bad.path().join("libnvrtc.so.13")).unwrap();
    let pipe =
        std::process::Command::new("mkfifo").arg(bad.path().join("libcublasLt.so.13")).status().unwrap();
    assert!(pipe.success());
    build(
        &bad.path().join("libnvrtc.so.12"),
        "extern int nowhere(void); int nvrtcVersion(void) { return nowhere(); } int (*p)(void) = nowhere;",
    );
    let findings = found_in(&[bad.path(), good.path()]);
    let reasons = |name: &str| -> Vec<&str> {
        library(&findings, name).rejected.iter().map(|rejected| rejected.reason.as_str()).collect()
    };
    assert_eq!((reasons("libcuda"), reasons("cublasLt")), (vec!["is no file"], vec!["is no file"]));
    let nvrtc = reasons("nvrtc");
    assert!(nvrtc[0].starts_with("cannot be read") && nvrtc[1].contains("nowhere"), "{nvrtc:?}");
    assert_eq!(findings.obstacles(), Vec::<String>::new());
}

#[test]
fn a_compiler_whose_builtins_are_broken_is_not_used() {
    if !has_compiler() {
        return;
    }
    let (bad, good) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    build(&bad.path().join("libnvrtc.so.13"), &nvrtc(13, 1, &[]));
    std::fs::write(bad.path().join("libnvrtc-builtins.so.13.1"), "nothing").unwrap();
    build(&good.path().join("libnvrtc.so.12"), &nvrtc(12, 9, &[]));
    build(&good.path().join("libnvrtc-builtins.so.12.9"), "int builtins;");
    build(&good.path().join("libnvrtc-builtins.so.12.10"), "int builtins;");
    std::fs::write(good.path().join("libnvrtc-builtins.so.12.9.alt"), "of another name").unwrap();
    std::fs::write(good.path().join("libnvrtc-builtins.so.13.0"), "of another version").unwrap();
    let findings = found_in(&[bad.path(), good.path()]);
    assert_eq!(library(&findings, "nvrtc").version.as_deref(), Some("12.9"));
    assert_eq!(library(&findings, "nvrtc-builtins").version.as_deref(), Some("12.10"));
    let rejected = &library(&findings, "nvrtc").rejected;
    assert_eq!(rejected[0].reason, "libnvrtc-builtins.so.13.1 beside it is no library");
}

#[test]
fn wheels_and_toolkits_are_found_through_the_environment() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    for folder in [
        "toolkit/lib64",
        "venv/lib/python3.9/site-packages/nvidia/cu13/lib",
        "venv/lib/python3.12/site-packages/nvidia/cuda_nvrtc/lib",
        "venv/lib/python3.12/site-packages/nvidia/cu13/lib",
        "venv/lib/pythonic/site-packages/nvidia/cu13/lib",
        "home/.local/lib/python3.11/site-packages/nvidia/cublas/lib",
        "shell/bin",
        "shell/lib/python3.13/dist-packages/nvidia/cu13/lib",
    ] {
        std::fs::create_dir_all(path(folder)).unwrap();
    }
    std::fs::write(path("shell/bin/python3"), "").unwrap();
    let variables = [
        ("CUDA_HOME", path("toolkit")),
        ("CUDA_PATH", PathBuf::from("relative/toolkit")),
        ("VIRTUAL_ENV", path("venv")),
        ("HOME", path("home")),
        ("PATH", PathBuf::from(format!("bin::{}:/no/such", path("shell/bin").display()))),
    ];
    let value = |name: &str| -> Option<OsString> {
        variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone().into_os_string())
    };
    let places = Places::of(&value);
    let below: Vec<String> = (places.folders.iter())
        .filter_map(|folder| Some(folder.strip_prefix(root.path()).ok()?.display().to_string()))
        .collect();
    assert_eq!(
        below,
        [
            "toolkit/lib64",
            "venv/lib/python3.12/site-packages/nvidia/cu13/lib",
            "venv/lib/python3.12/site-packages/nvidia/cuda_nvrtc/lib",
            "venv/lib/python3.9/site-packages/nvidia/cu13/lib",
            "venv/lib",
            "home/.local/lib/python3.11/site-packages/nvidia/cublas/lib",
            "home/.local/lib",
            "shell/lib/python3.13/dist-packages/nvidia/cu13/lib",
            "shell/lib",
        ]
    );
    assert!(places.loader && places.folders.iter().all(|folder| folder.is_absolute()));
    assert!(Places::of(&|_| None).loader);
}
