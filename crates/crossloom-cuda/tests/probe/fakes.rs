//! Libraries that stand for NVIDIA's, built by the system's C compiler.

use std::io::Write;
use std::path::Path;
use std::process::Command;

/// Whether there is a C compiler. Says loudly, past the test harness, if there is none; fails where none may be missing.
pub(crate) fn has_compiler() -> bool {
    let found = Command::new("cc").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        assert!(std::env::var_os("CROSSLOOM_REQUIRE_COMPILER").is_none(), "there is no C compiler `cc`");
        let line = b"SKIPPED: there is no C compiler `cc` to build stand-ins for CUDA's libraries with\n";
        std::io::stderr().write_all(line).unwrap();
    }
    found
}

/// Builds a library of that C source.
pub(crate) fn build(path: &Path, source: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let text = path.with_extension("c");
    std::fs::write(&text, source).unwrap();
    let status =
        Command::new("cc").args(["-shared", "-fPIC", "-w", "-o"]).arg(path).arg(&text).status().unwrap();
    assert!(status.success(), "{source}");
    std::fs::remove_file(text).unwrap();
}

/// A driver of two devices. `start` is what `cuInit` returns, `count` how many devices there are said to be, `without`
/// functions that it lacks.
pub(crate) fn driver(start: i32, count: i32, without: &[&str]) -> String {
    let asked = format!(
        r#"
        #include <stddef.h>
        #include <string.h>
        static int started;
        int cuInit(unsigned flags) {{ started = {start} == 0; return flags ? 1 : {start}; }}
        int cuDriverGetVersion(int *v) {{ *v = 13010; return 0; }}
        int cuGetErrorName(int e, const char **n) {{ *n = e == 100 ? "CUDA_ERROR_NO_DEVICE" : NULL; return *n ? 0 : 1; }}
        int cuDeviceGetCount(int *n) {{ *n = {count}; return started ? 0 : 3; }}
        int cuDeviceGet(int *d, int i) {{ *d = 100 + i; return 0; }}
        int cuDeviceGetName(char *s, int n, int d) {{
            if (d == 100) {{ strncpy(s, "NVIDIA Test 90", n); return 0; }}
            memset(s, 0xff, n); return 0;
        }}
        int cuDeviceGetAttribute(int *v, int a, int d) {{
            if (d != 100) {{ *v = -5; return 0; }}
            switch (a) {{
                case 16: *v = 132; return 0;
                case 75: *v = 9; return 0;
                case 76: *v = 0; return 0;
                case 97: *v = 232448; return 0;
            }}
            return 1;
        }}
        int cuDeviceTotalMem_v2(size_t *b, int d) {{ *b = 150754820096; return d == 100 ? 0 : 1; }}
        "#
    );
    let rest = [
        "cuDevicePrimaryCtxRetain",
        "cuDevicePrimaryCtxRelease_v2",
        "cuCtxSetCurrent",
        "cuCtxSynchronize",
        "cuMemGetInfo_v2",
        "cuMemAlloc_v2",
        "cuMemFree_v2",
        "cuMemHostAlloc",
        "cuMemFreeHost",
        "cuMemsetD8Async",
        "cuMemcpyHtoDAsync_v2",
        "cuMemcpyDtoHAsync_v2",
        "cuMemcpyDtoDAsync_v2",
        "cuStreamCreate",
        "cuStreamSynchronize",
        "cuStreamWaitEvent",
        "cuStreamDestroy_v2",
        "cuEventCreate",
        "cuEventRecord",
        "cuEventQuery",
        "cuEventSynchronize",
        "cuEventDestroy_v2",
        "cuModuleLoadData",
        "cuModuleUnload",
        "cuModuleGetFunction",
        "cuFuncSetAttribute",
        "cuLaunchKernel",
        "cuStreamBeginCapture_v2",
        "cuStreamEndCapture",
        "cuGraphInstantiateWithFlags",
        "cuGraphLaunch",
        "cuGraphExecDestroy",
        "cuGraphDestroy",
    ];
    asked + &empty(&rest, without)
}

/// Functions that only have to be there.
fn empty(names: &[&str], without: &[&str]) -> String {
    let there: Vec<String> = (names.iter())
        .filter(|name| !without.contains(name))
        .map(|name| format!("int {name}(void) {{ return 1; }}\n"))
        .collect();
    there.concat()
}

/// A compiler of that version.
pub(crate) fn nvrtc(major: u32, minor: u32, without: &[&str]) -> String {
    let names = [
        "nvrtcGetErrorString",
        "nvrtcGetNumSupportedArchs",
        "nvrtcGetSupportedArchs",
        "nvrtcCreateProgram",
        "nvrtcCompileProgram",
        "nvrtcGetCUBINSize",
        "nvrtcGetCUBIN",
        "nvrtcGetProgramLogSize",
        "nvrtcGetProgramLog",
        "nvrtcDestroyProgram",
    ];
    let version = format!("int nvrtcVersion(int *a, int *b) {{ *a = {major}; *b = {minor}; return 0; }}\n");
    version + &empty(&names, without)
}

/// A library of products.
pub(crate) fn products(version: usize) -> String {
    let names = [
        "cublasLtCreate",
        "cublasLtDestroy",
        "cublasLtMatmul",
        "cublasLtMatmulDescCreate",
        "cublasLtMatmulDescSetAttribute",
        "cublasLtMatmulDescDestroy",
        "cublasLtMatrixLayoutCreate",
        "cublasLtMatrixLayoutSetAttribute",
        "cublasLtMatrixLayoutDestroy",
        "cublasLtMatmulPreferenceCreate",
        "cublasLtMatmulPreferenceSetAttribute",
        "cublasLtMatmulPreferenceDestroy",
        "cublasLtMatmulAlgoGetHeuristic",
        "cublasLtMatmulAlgoCheck",
    ];
    format!("unsigned long cublasLtGetVersion(void) {{ return {version}; }}\n") + &empty(&names, &[])
}
