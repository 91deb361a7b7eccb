//! Building and running kernels of a test.

use std::ffi::c_void;
use std::sync::Arc;

use crossloom_cuda::launch::Launch;
use crossloom_cuda::shim::{Fault, Guarded, Order, Program};
use crossloom_cuda::{Driver, Geometry, GpuDriver};

use crate::on_gpu;

/// So many blocks of so many threads, with so much shared memory.
pub(crate) fn geometry(grid: u32, block: u32, shared: u32) -> Geometry {
    Geometry { grid: [grid, 1, 1], block: [block, 1, 1], shared }
}

/// Runs a kernel whose arguments are all pointers, each to guarded memory.
pub(crate) fn run(
    program: &Program,
    kernel: &str,
    geometry: Geometry,
    memory: &[&Guarded],
    order: Order,
) -> Result<(), Fault> {
    let mut starts: Vec<*mut u8> = memory.iter().map(|memory| memory.start()).collect();
    let mut arguments: Vec<*mut c_void> =
        starts.iter_mut().map(|start| std::ptr::from_mut(start).cast()).collect();
    // SAFETY: kernels of these tests take as many pointers as they are given; the memory is guarded and this test's alone.
    unsafe { program.launch(kernel, geometry, &mut arguments, order) }
}

/// Kernels of a test, on the processor, or on a GPU where tests are to run on one.
pub(crate) enum Kernels {
    Processor(Program),
    Gpu(Arc<GpuDriver>, &'static str),
}

impl Kernels {
    pub(crate) fn of(source: &'static str, names: &[&str]) -> Self {
        match on_gpu::driver() {
            Some(driver) => Self::Gpu(driver, source),
            None => Self::Processor(Program::build(source, names).unwrap()),
        }
    }

    /// Runs one as [`run`] does; the order is that of the processor's threads.
    pub(crate) fn run(&self, kernel: &str, geometry: Geometry, memory: &[&Guarded], order: Order) {
        match self {
            Self::Processor(program) => run(program, kernel, geometry, memory, order).unwrap(),
            Self::Gpu(driver, source) => on_device(&**driver, source, kernel, geometry, memory),
        }
    }
}

/// The same on a device: memory goes there, and what the kernel left comes home.
fn on_device(driver: &dyn Driver, source: &str, kernel: &str, geometry: Geometry, memory: &[&Guarded]) {
    // As generated kernels are: a driver finds them by their own names.
    let source = source.replace("__global__ void ", "ENTRY(1024) ");
    let (arguments, table) = (Vec::new(), Vec::new());
    let launch = Launch { kernel: kernel.to_owned(), source, geometry, arguments, table };
    let module = driver.load(&[&launch]).unwrap_or_else(|error| panic!("{kernel}: {error}"));
    let mut stream = driver.stream().unwrap();
    let addresses: Vec<u64> =
        memory.iter().map(|memory| driver.allocate(memory.bytes().len()).unwrap()).collect();
    for (memory, &address) in memory.iter().zip(&addresses) {
        // SAFETY: as many bytes were just given.
        unsafe { stream.upload(address, memory.bytes()) }.unwrap();
    }
    // SAFETY: kernels of these tests take as many pointers as they are given, to memory that is this launch's alone.
    let started = unsafe { stream.launch(&module, kernel, geometry, &addresses) };
    started.and_then(|()| stream.wait()).unwrap_or_else(|error| panic!("{kernel}: {error}"));
    for (memory, &address) in memory.iter().zip(&addresses) {
        let mut bytes = vec![0; memory.bytes().len()];
        // SAFETY: as many bytes were given; nothing is started on them any more. The memory of the host is the test's alone, and nobody
        // holds a view of it.
        unsafe {
            stream.download(address, &mut bytes).unwrap();
            driver.free(address);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), memory.start(), bytes.len());
        }
    }
}

pub(crate) fn floats(values: impl IntoIterator<Item = f32>) -> Guarded {
    let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_ne_bytes).collect();
    Guarded::of(&bytes).unwrap()
}

pub(crate) fn read(memory: &Guarded) -> Vec<f32> {
    memory.bytes().chunks_exact(4).map(|bytes| f32::from_ne_bytes(bytes.try_into().unwrap())).collect()
}
