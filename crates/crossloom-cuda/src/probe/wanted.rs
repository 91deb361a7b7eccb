//! Which libraries are looked for, and which of their functions compiling and running kernels takes.

use std::ffi::c_int;

use super::library::Open;

/// A library that is looked for.
pub(super) struct Wanted {
    /// How it is called where findings are told.
    pub(super) name: &'static str,
    /// Names of its file, the best first.
    pub(super) files: &'static [&'static str],
    /// Functions that are needed of it.
    pub(super) symbols: &'static [&'static str],
    /// Its version, if it says one.
    pub(super) version: fn(&Open) -> Option<String>,
}

/// The user-mode driver, which comes with the kernel module.
pub(super) const DRIVER: Wanted = Wanted {
    name: "libcuda",
    files: &["libcuda.so.1"],
    symbols: &[
        "cuInit",
        "cuDriverGetVersion",
        "cuGetErrorName",
        "cuDeviceGetCount",
        "cuDeviceGet",
        "cuDeviceGetName",
        "cuDeviceGetAttribute",
        "cuDeviceTotalMem_v2",
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
    ],
    version: |open| {
        let mut version: c_int = 0;
        // SAFETY: the driver's interface says `int cuDriverGetVersion(int *)`, which needs no `cuInit`; `version` outlives
        // the call.
        let status = unsafe {
            let get = open.function::<unsafe extern "C" fn(*mut c_int) -> c_int>("cuDriverGetVersion")?;
            get(&raw mut version)
        };
        (status == 0 && version > 0).then(|| format!("{}.{}", version / 1000, version % 1000 / 10))
    },
};

/// The run-time compiler of kernels.
pub(super) const NVRTC: Wanted = Wanted {
    name: "nvrtc",
    files: &["libnvrtc.so.13", "libnvrtc.so.12"],
    symbols: &[
        "nvrtcVersion",
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
    ],
    version: |open| {
        let (mut major, mut minor): (c_int, c_int) = (0, 0);
        // SAFETY: the interface of NVRTC says `nvrtcResult nvrtcVersion(int *, int *)`; both numbers outlive the call.
        let status = unsafe {
            let get =
                open.function::<unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int>("nvrtcVersion")?;
            get(&raw mut major, &raw mut minor)
        };
        (status == 0).then(|| format!("{major}.{minor}"))
    },
};

/// Start of the name of the file that NVRTC opens by itself when it compiles, and which lies beside it.
pub(super) const BUILTINS: &str = "libnvrtc-builtins.so.";

/// Matrix products with epilogues.
pub(super) const CUBLAS_LT: Wanted = Wanted {
    name: "cublasLt",
    files: &["libcublasLt.so.13", "libcublasLt.so.12"],
    symbols: &[
        "cublasLtGetVersion",
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
    ],
    version: |open| {
        // SAFETY: the interface of cuBLASLt says `size_t cublasLtGetVersion(void)`.
        let version = unsafe {
            let get = open.function::<unsafe extern "C" fn() -> usize>("cublasLtGetVersion")?;
            get()
        };
        Some(format!("{}.{}.{}", version / 10_000, version / 100 % 100, version % 100))
    },
};
