//! The run-time compiler: found or not, sound or not; and what the files say that it is given. What it makes of all kernels is in
//! `tests/tests/kernels.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used)]
#![cfg(target_os = "linux")]

#[path = "../probe/fakes.rs"]
#[allow(dead_code, reason = "the probe's tests use all of it")]
mod fakes;
mod large;

use std::path::Path;

use crossloom_cuda::nvrtc::{Nvrtc, NvrtcError};
use crossloom_cuda::probe::Places;
use crossloom_data::assets::AssetCache;

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

#[test]
fn what_the_compiler_refuses_is_told_in_its_words() {
    if std::env::var("CROSSLOOM_NETWORK_TESTS").as_deref() != Ok("1") {
        println!("skipped: set CROSSLOOM_NETWORK_TESTS=1 to fetch NVRTC");
        return;
    }
    let package = AssetCache::of_user().unwrap().ensure("nvidia-cuda-nvrtc", &mut |_| {}).unwrap();
    let nvrtc = found_in(&package.join("nvidia/cu13/lib")).unwrap();
    let refused = nvrtc.compile("__global__ void k() { nothing(); }", "sm_80").unwrap_err();
    assert!(matches!(&refused, NvrtcError::Refused(log) if log.contains("nothing")), "{refused}");
    let refused = nvrtc.compile("", "sm_1").unwrap_err();
    assert!(matches!(refused, NvrtcError::Refused(_) | NvrtcError::Failed(_)), "{refused}");
}

/// What a file's first lines say, without the marks of a comment.
fn head(text: &str) -> String {
    let lines = text.lines().map_while(|line| line.strip_prefix("//"));
    lines.map(str::trim).collect::<Vec<_>>().join(" ")
}

#[test]
fn every_file_of_kernels_says_its_operations_its_bytes_and_what_it_is_held_against() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/kernels");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 30, "{files:?}");
    let mut silent = Vec::new();
    for file in files {
        let head = head(&std::fs::read_to_string(&file).unwrap());
        let says = |words: &[&str]| words.iter().any(|word| head.contains(word));
        let name = file.file_name().unwrap().to_string_lossy();
        for (what, words) in [
            ("floating-point operations", &["FLOPs: "][..]),
            ("bytes", &["Bytes: ", "Bytes and "]),
            ("a roofline", &["Bound by ", "o be held against "]),
        ] {
            if !says(words) {
                silent.push(format!("{name} does not say {what}"));
            }
        }
    }
    assert!(silent.is_empty(), "{}", silent.join("\n"));
}
