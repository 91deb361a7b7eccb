//! The run-time compiler: found or not, sound or not, and what it makes of the quickstart's kernels.

#![allow(clippy::unwrap_used, clippy::expect_used)]
#![cfg(target_os = "linux")]

#[path = "../probe/fakes.rs"]
#[allow(dead_code, reason = "the probe's tests use all of it")]
mod fakes;
#[path = "../../../crossloom-cpu/tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::Path;

use crossloom_compiler::{Context, Mode, compile};
use crossloom_cuda::nvrtc::{Nvrtc, NvrtcError, Resources};
use crossloom_cuda::probe::Places;
use crossloom_cuda::{CudaTarget, Generated};
use crossloom_data::assets::AssetCache;
use crossloom_recipe::{LoadOptions, load};

fn found_in(folder: &Path) -> Result<Nvrtc, NvrtcError> {
    Nvrtc::find(&Places { folders: vec![folder.to_owned()], loader: false })
}

#[test]
fn a_compiler_that_is_missing_or_broken_is_an_error() {
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(found_in(empty.path()).unwrap_err(), NvrtcError::Missing("not found".to_owned()));
    std::fs::write(empty.path().join("libnvrtc.so.13"), "text").unwrap();
    let error = found_in(empty.path()).unwrap_err().to_string();
    assert!(error.contains("libnvrtc.so.13 is no library"), "{error}");
    if !fakes::has_compiler() {
        return;
    }
    // Of the functions that only have to be there, each gives 1: an error, or the size of nothing that is there.
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libnvrtc.so.13");
    fakes::build(&library, &fakes::nvrtc(13, 0, &["nvrtcGetCUBIN"]));
    assert_eq!(
        found_in(folder.path()).unwrap_err(),
        NvrtcError::Missing("it lacks nvrtcGetCUBIN".to_owned())
    );
    // A folder of its own for each, since an open library is not opened again.
    let with = |functions: &str| {
        let folder = tempfile::tempdir().unwrap();
        let rest =
            fakes::nvrtc(13, 0, &["nvrtcGetErrorString", "nvrtcCreateProgram", "nvrtcGetProgramLogSize"]);
        fakes::build(&folder.path().join("libnvrtc.so.13"), &(functions.to_owned() + &rest));
        found_in(folder.path()).unwrap().compile("", "sm_80").unwrap_err()
    };
    let named = "const char *nvrtcGetErrorString(int e) { return e == 1 ? \"out of paper\" : 0; }\n";
    let size = "int nvrtcGetProgramLogSize(void *p, unsigned long *n) { *n = -1; return 0; }\n";
    let create = |status: i32| format!("int nvrtcCreateProgram(void) {{ return {status}; }}\n");
    let failed = |what: &str| NvrtcError::Failed(what.to_owned());
    assert_eq!(with(&(create(1) + named + size)), failed("nvrtcCreateProgram: out of paper"));
    assert_eq!(with(&(create(2) + named + size)), failed("nvrtcCreateProgram: error 2"));
    assert_eq!(with(&(create(0) + named + size)), failed(&format!("its log has {} bytes", usize::MAX)));
    assert!(found_in(folder.path()).is_err());
}

/// Of every file of kernels: how many, and the most that one of them takes.
fn table(kernels: &[Resources]) -> String {
    let mut files: BTreeMap<&str, (usize, Resources)> = BTreeMap::new();
    for kernel in kernels {
        let (file, _) = kernel.kernel.rsplit_once('_').unwrap();
        let (count, most) = files.entry(file).or_default();
        *count += 1;
        most.registers = most.registers.max(kernel.registers);
        most.stack = most.stack.max(kernel.stack);
        most.shared = most.shared.max(kernel.shared);
        most.spills.0 = most.spills.0.max(kernel.spills.0);
        most.spills.1 = most.spills.1.max(kernel.spills.1);
    }
    let line = |(file, (count, most)): (&str, (usize, Resources))| {
        let Resources { registers, stack, shared, spills: (stored, loaded), .. } = most;
        format!("{file:<24} {count:>3} {registers:>4} {stack:>4} {shared:>4} {stored:>4} {loaded:>4}\n")
    };
    let head = "kernel                     n regs stck shrd  st.  ld.\n";
    head.to_owned() + &files.into_iter().map(line).collect::<Vec<_>>().concat()
}

#[test]
fn the_quickstarts_kernels_compile_without_spills() {
    if std::env::var("CROSSLOOM_NETWORK_TESTS").as_deref() != Ok("1") {
        println!("skipped: set CROSSLOOM_NETWORK_TESTS=1 to fetch NVRTC");
        return;
    }
    let package = AssetCache::of_user().unwrap().ensure("nvidia-cuda-nvrtc", &mut |_| {}).unwrap();
    let nvrtc = found_in(&package.join("nvidia/cu13/lib")).unwrap();
    assert_eq!(nvrtc.version(), "13.0");
    let loaded = load(&support::recipes().join("quickstart.toml"), &LoadOptions::default());
    let loaded = loaded.unwrap_or_else(|e| panic!("{e}"));
    let step = support::step(&loaded.variant("cli").unwrap().recipe, support::SHAPE, 1);
    let set = compile(&step.forward, &Context::new(&CudaTarget, Mode::Train(&step.spec))).unwrap();
    let generated = Generated::of([&set.main.plan]).unwrap();
    for architecture in ["sm_80", "sm_90a"] {
        let cubin = nvrtc.compile(&generated.to_string(), architecture).unwrap_or_else(|e| panic!("{e}"));
        assert!(cubin.bytes.starts_with(b"\x7fELF") && !cubin.log.contains("warning"), "{}", cubin.log);
        let names: Vec<&str> = cubin.kernels.iter().map(|kernel| kernel.kernel.as_str()).collect();
        assert_eq!(names, generated.kernels().into_keys().collect::<Vec<_>>());
        assert!(cubin.kernels.iter().all(|kernel| kernel.spills == (0, 0)), "{}", table(&cubin.kernels));
        insta::assert_snapshot!(architecture, table(&cubin.kernels));
    }
    let refused = nvrtc.compile("__global__ void k() { nothing(); }", "sm_80").unwrap_err();
    assert!(matches!(&refused, NvrtcError::Refused(log) if log.contains("nothing")), "{refused}");
    let refused = nvrtc.compile("", "sm_1").unwrap_err();
    assert!(matches!(refused, NvrtcError::Refused(_) | NvrtcError::Failed(_)), "{refused}");
}
