//! NVIDIA's run-time compiler: CUDA C to what a device loads, without a device.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt;

use crate::probe::{Open, Places, compiler};

/// Why there is no compiler, or no program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NvrtcError {
    /// It is not there, or lacks functions.
    Missing(String),
    /// The source or the architecture was refused, with the compiler's words.
    Refused(String),
    /// A call failed.
    Failed(String),
}

impl fmt::Display for NvrtcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(what) => write!(f, "NVRTC cannot be used: {what}"),
            Self::Refused(log) => write!(f, "NVRTC refuses a program:\n{log}"),
            Self::Failed(what) => write!(f, "NVRTC fails: {what}"),
        }
    }
}

impl std::error::Error for NvrtcError {}

/// What a kernel takes of a multiprocessor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// The kernel.
    pub kernel: String,
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes of a thread's stack.
    pub stack: u32,
    /// Bytes of registers that are stored because there are too few, and loaded again.
    pub spills: (u32, u32),
    /// Bytes of shared memory that are not asked for at the launch.
    pub shared: u32,
}

/// A program for one architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cubin {
    /// What a driver loads.
    pub bytes: Vec<u8>,
    /// What its kernels take, by name.
    pub kernels: Vec<Resources>,
    /// The compiler's words.
    pub log: String,
}

type Handle = *mut c_void;
type Create = unsafe extern "C" fn(
    *mut Handle,
    *const c_char,
    *const c_char,
    c_int,
    *const *const c_char,
    *const *const c_char,
) -> c_int;
type Compile = unsafe extern "C" fn(Handle, c_int, *const *const c_char) -> c_int;
type Size = unsafe extern "C" fn(Handle, *mut usize) -> c_int;
type Get = unsafe extern "C" fn(Handle, *mut c_char) -> c_int;
type Destroy = unsafe extern "C" fn(*mut Handle) -> c_int;
type ErrorText = unsafe extern "C" fn(c_int) -> *const c_char;

/// The compiler.
pub struct Nvrtc {
    version: String,
    create: Create,
    compile: Compile,
    cubin_size: Size,
    cubin: Get,
    log_size: Size,
    log: Get,
    destroy: Destroy,
    error_text: ErrorText,
    /// Functions are valid while it is open.
    _open: Open,
}

impl fmt::Debug for Nvrtc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nvrtc({})", self.version)
    }
}

/// A program that is given back.
struct Program<'n>(&'n Nvrtc, Handle);

impl Drop for Program<'_> {
    fn drop(&mut self) {
        // SAFETY: made by `nvrtcCreateProgram`, and given back once.
        unsafe { (self.0.destroy)(&raw mut self.1) };
    }
}

impl Nvrtc {
    /// The first one that is found there.
    ///
    /// # Errors
    /// [`NvrtcError::Missing`], with what was found instead.
    pub fn find(places: &Places) -> Result<Self, NvrtcError> {
        let (told, open) = compiler(places);
        let rejected = told.rejected.iter().map(|file| format!("; {} {}", file.path.display(), file.reason));
        let rejected: Vec<String> = rejected.collect();
        let open = open.ok_or_else(|| NvrtcError::Missing(format!("not found{}", rejected.concat())))?;
        if !told.missing.is_empty() {
            return Err(NvrtcError::Missing(format!("it lacks {}", told.missing.join(", "))));
        }
        let version = told.version.unwrap_or_else(|| "unknown".to_owned());
        // SAFETY: these are the signatures that NVRTC's interface gives its functions.
        let found = unsafe {
            (|| {
                Some((
                    open.function::<Create>("nvrtcCreateProgram")?,
                    open.function::<Compile>("nvrtcCompileProgram")?,
                    open.function::<Size>("nvrtcGetCUBINSize")?,
                    open.function::<Get>("nvrtcGetCUBIN")?,
                    open.function::<Size>("nvrtcGetProgramLogSize")?,
                    open.function::<Get>("nvrtcGetProgramLog")?,
                    open.function::<Destroy>("nvrtcDestroyProgram")?,
                    open.function::<ErrorText>("nvrtcGetErrorString")?,
                ))
            })()
        };
        let Some((create, compile, cubin_size, cubin, log_size, log, destroy, error_text)) = found else {
            return Err(NvrtcError::Missing("it lacks functions".to_owned()));
        };
        Ok(Self {
            version,
            create,
            compile,
            cubin_size,
            cubin,
            log_size,
            log,
            destroy,
            error_text,
            _open: open,
        })
    }

    /// Its version, such as `13.0`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Compiles CUDA C for an architecture, such as `sm_80` or `sm_90a`.
    ///
    /// # Errors
    /// [`NvrtcError::Refused`] with the compiler's words; [`NvrtcError::Failed`] if it breaks.
    pub fn compile(&self, source: &str, architecture: &str) -> Result<Cubin, NvrtcError> {
        let text =
            |text: String| CString::new(text).map_err(|_| NvrtcError::Refused("it has a zero".to_owned()));
        let source = text(source.to_owned())?;
        let options = [
            text(format!("--gpu-architecture={architecture}"))?,
            text("--std=c++17".to_owned())?,
            text("--ptxas-options=-v".to_owned())?,
        ];
        let options: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        let (name, none) = (c"kernels.cu", std::ptr::null());
        let mut handle: Handle = std::ptr::null_mut();
        // SAFETY: all texts have an end and outlive the call; no headers are given.
        let status = unsafe { (self.create)(&raw mut handle, source.as_ptr(), name.as_ptr(), 0, none, none) };
        self.checked("nvrtcCreateProgram", status)?;
        let program = Program(self, handle);
        // SAFETY: the program was just made; the options have ends and outlive the call.
        let status = unsafe { (self.compile)(program.1, options.len() as c_int, options.as_ptr()) };
        let log = self.bytes(&program, "log", self.log_size, self.log)?;
        let log = String::from_utf8_lossy(&log).trim_end_matches('\0').to_owned();
        if status != 0 {
            return Err(NvrtcError::Refused(if log.is_empty() { self.words(status) } else { log }));
        }
        let bytes = self.bytes(&program, "cubin", self.cubin_size, self.cubin)?;
        Ok(Cubin { bytes, kernels: resources(&log), log })
    }

    /// What a pair of functions gives, one the size and one the bytes.
    fn bytes(&self, program: &Program<'_>, what: &str, size: Size, get: Get) -> Result<Vec<u8>, NvrtcError> {
        let mut len = 0_usize;
        // SAFETY: the program is not given back yet; `len` outlives the call.
        self.checked(what, unsafe { size(program.1, &raw mut len) })?;
        // More than a gigabyte is no size.
        if len > 1 << 30 {
            return Err(NvrtcError::Failed(format!("its {what} has {len} bytes")));
        }
        let mut bytes = vec![0_u8; len];
        // SAFETY: as above; it writes as many bytes as it said.
        self.checked(what, unsafe { get(program.1, bytes.as_mut_ptr().cast()) })?;
        Ok(bytes)
    }

    fn checked(&self, what: &str, status: c_int) -> Result<(), NvrtcError> {
        if status == 0 { Ok(()) } else { Err(NvrtcError::Failed(format!("{what}: {}", self.words(status)))) }
    }

    /// A status in words.
    fn words(&self, status: c_int) -> String {
        // SAFETY: NVRTC gives a text of its own for every number, which lives as long as the library.
        let text = unsafe { (self.error_text)(status) };
        if text.is_null() {
            return format!("error {status}");
        }
        // SAFETY: as above; it has an end.
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    }
}

/// What the assembler says of each kernel, by name.
fn resources(log: &str) -> Vec<Resources> {
    let mut kernels: Vec<Resources> = Vec::new();
    for line in log.lines().map(str::trim) {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            let kernel = rest.split('\'').next().unwrap_or_default().to_owned();
            kernels.push(Resources { kernel, ..Resources::default() });
        }
        let Some(last) = kernels.last_mut() else { continue };
        let before = |what: &str| -> Option<u32> {
            line.split_once(what)?.0.rsplit([' ', ',']).find(|word| !word.is_empty())?.parse().ok()
        };
        last.registers = before(" registers").unwrap_or(last.registers);
        last.stack = before(" bytes stack frame").unwrap_or(last.stack);
        last.spills.0 = before(" bytes spill stores").unwrap_or(last.spills.0);
        last.spills.1 = before(" bytes spill loads").unwrap_or(last.spills.1);
        last.shared = before(" bytes smem").unwrap_or(last.shared);
    }
    kernels.sort_by(|a, b| a.kernel.cmp(&b.kernel));
    kernels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_assemblers_words_become_numbers() {
        let log = "\
ptxas info    : 48 bytes gmem, 24 bytes cmem[4]
ptxas info    : Compiling entry function 'second' for 'sm_80'
ptxas info    : Function properties for second
ptxas         .     32 bytes stack frame, 8 bytes spill stores, 16 bytes spill loads
ptxas info    : Used 128 registers, used 1 barriers, 512 bytes smem, 424 bytes cmem[0]
ptxas info    : Compiling entry function 'first' for 'sm_80'
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 9 registers, used 0 barriers
";
        let first = Resources { kernel: "first".to_owned(), registers: 9, ..Resources::default() };
        let second = Resources {
            kernel: "second".to_owned(),
            registers: 128,
            stack: 32,
            spills: (8, 16),
            shared: 512,
        };
        assert_eq!(resources(log), [first, second]);
        assert_eq!(resources("nothing of the kind"), []);
    }
}
