//! Kernels on the processor: the same source that a device's compiler gets, built by the system's C++ compiler and run with
//! one fiber per thread of a block.
//!
//! It is how kernels are tested where there is no GPU. What a device would do in silence is reported, with kernel, block and
//! thread: a touch outside of memory, threads that meet at different barriers, threads that wait for ever, an asynchronous
//! copy that nobody waited for. Shared memory is poisoned before each block, and so is the place of an asynchronous copy until its
//! wait. What depends on the order of threads shows when a launch is repeated in another [`Order`].
//!
//! Not seen are: memory models finer than barriers, bank conflicts, instructions that round less well on a device than here,
//! and a layout of fragments that kernel and shim misread alike.

mod build;
mod guard;

use std::collections::BTreeMap;
use std::ffi::{CString, c_char, c_int, c_void};
use std::fmt;

use libloading::Library;

pub use build::{Compiler, ShimError};
pub use guard::Guarded;

use build::Runtime;

use crate::launch::Launch;
use crate::{COMMON, Geometry};

/// In which order blocks, warps and lanes get their turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The first one first.
    Forwards,
    /// The last one first.
    Backwards,
    /// Shuffled by a seed.
    Shuffled(u16),
}

impl Order {
    /// Three that every kernel has to give the same bits in.
    pub const ALL: [Self; 3] = [Self::Forwards, Self::Backwards, Self::Shuffled(7)];

    fn number(self) -> u32 {
        match self {
            Self::Forwards => 0,
            Self::Backwards => 1,
            Self::Shuffled(seed) => 2 + u32::from(seed),
        }
    }
}

/// What is wrong with a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A thread touches memory that is not its kernel's.
    OutOfBounds,
    /// Threads that have to meet do not come to the same place.
    Divergent,
    /// Threads wait and nobody can go on.
    Deadlock,
    /// An asynchronous copy was never waited for.
    MissingWait,
    /// An address that has to be a multiple of 16 is none.
    Misaligned,
    /// The launch itself is none that a device would take.
    Launch,
}

/// A launch that failed. What it had written until then is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub kind: FaultKind,
    /// The kernel.
    pub kernel: String,
    /// The block that ran.
    pub block: [u32; 3],
    /// The thread that ran.
    pub thread: [u32; 3],
    /// The address that was touched, if one was.
    pub address: Option<usize>,
    /// What happened.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kernel, block, thread, message, .. } = self;
        write!(f, "kernel `{kernel}`, block {block:?}, thread {thread:?}: {message}")
    }
}

impl std::error::Error for Fault {}

/// `Launch` of runtime.h.
#[repr(C)]
struct RawLaunch {
    kernel: *const c_char,
    body: unsafe extern "C" fn(*mut *mut c_void),
    arguments: *mut *mut c_void,
    grid: [u32; 3],
    extent: [u32; 3],
    shared: u32,
    order: u32,
}

/// `Fault` of runtime.h.
#[repr(C)]
struct RawFault {
    kind: i32,
    block: [u32; 3],
    thread: [u32; 3],
    address: u64,
    text: [u8; 768],
}

type RawLauncher = unsafe extern "C" fn(*const RawLaunch, *mut RawFault) -> c_int;
type Body = unsafe extern "C" fn(*mut *mut c_void);

/// Kernels that were built.
#[derive(Debug)]
pub struct Program {
    library: Library,
    runtime: &'static Runtime,
}

impl Program {
    /// Builds CUDA C without includes. `kernels` are the names of its `__global__` functions.
    ///
    /// # Errors
    /// [`ShimError::NoCompiler`] where there is no C++ compiler; otherwise what the compiler says.
    pub fn build(source: &str, kernels: &[&str]) -> Result<Self, ShimError> {
        let runtime = Runtime::shared()?;
        let library = runtime.build(source, kernels)?;
        Ok(Self { library, runtime })
    }

    /// Builds the kernels of launches.
    ///
    /// # Errors
    /// As [`Program::build`].
    pub fn of<'l>(launches: impl IntoIterator<Item = &'l Launch>) -> Result<Self, ShimError> {
        let launches: BTreeMap<&str, &str> =
            (launches.into_iter()).map(|launch| (launch.kernel.as_str(), launch.source.as_str())).collect();
        let kernels: Vec<&str> = launches.keys().copied().collect();
        let sources: Vec<&str> = std::iter::once(COMMON).chain(launches.into_values()).collect();
        Self::build(&sources.join("\n"), &kernels)
    }

    /// Runs a kernel on a list of pointers to its arguments, as a launch on a device takes it.
    ///
    /// # Errors
    /// What a thread did that a device would not have forgiven, or would have done in silence.
    ///
    /// # Safety
    /// - `arguments` are as many pointers as the kernel has arguments, to values of their types.
    /// - Memory that these lead to is the kernel's alone during the call, as far as the kernel follows its own bounds. A touch
    ///   outside of them is reported where that memory is [`Guarded`], and undefined otherwise.
    pub unsafe fn launch(
        &self,
        kernel: &str,
        geometry: Geometry,
        arguments: &mut [*mut c_void],
        order: Order,
    ) -> Result<(), Fault> {
        let refused = |message: &str| Fault {
            kind: FaultKind::Launch,
            kernel: kernel.to_owned(),
            block: [0; 3],
            thread: [0; 3],
            address: None,
            message: message.to_owned(),
        };
        let name = CString::new(kernel).map_err(|_| refused("its name has a zero"))?;
        // SAFETY: every symbol of that form was made by `SHIM_EXPORT` and has this signature.
        let body = unsafe { self.library.get::<Body>(format!("shim_body_{kernel}")) };
        let body = *body.map_err(|_| refused("there is no such kernel"))?;
        let launch = RawLaunch {
            kernel: name.as_ptr(),
            body,
            arguments: arguments.as_mut_ptr(),
            grid: geometry.grid,
            extent: geometry.block,
            shared: geometry.shared,
            order: order.number(),
        };
        let mut fault = RawFault { kind: 0, block: [0; 3], thread: [0; 3], address: 0, text: [0; 768] };
        // SAFETY: both are laid out as the C++ side declares them and outlive the call; the caller answers for the arguments.
        let status = unsafe { (self.runtime.launcher)(&raw const launch, &raw mut fault) };
        if status == 0 { Ok(()) } else { Err(fault.told(kernel)) }
    }
}

impl RawFault {
    fn told(&self, kernel: &str) -> Fault {
        let end = self.text.iter().position(|&byte| byte == 0).unwrap_or(self.text.len());
        let kind = match self.kind {
            1 => FaultKind::OutOfBounds,
            2 => FaultKind::Divergent,
            3 => FaultKind::Deadlock,
            4 => FaultKind::MissingWait,
            5 => FaultKind::Misaligned,
            _ => FaultKind::Launch,
        };
        Fault {
            kind,
            kernel: kernel.to_owned(),
            block: self.block,
            thread: self.thread,
            address: (self.address != 0).then_some(self.address as usize),
            message: String::from_utf8_lossy(&self.text[..end]).into_owned(),
        }
    }
}
