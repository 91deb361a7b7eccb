//! Building and running kernels of a test.

use std::ffi::c_void;

use crossloom_cuda::Geometry;
use crossloom_cuda::shim::{Fault, Guarded, Order, Program};

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

pub(crate) fn floats(values: impl IntoIterator<Item = f32>) -> Guarded {
    let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_ne_bytes).collect();
    Guarded::of(&bytes).unwrap()
}

pub(crate) fn read(memory: &Guarded) -> Vec<f32> {
    memory.bytes().chunks_exact(4).map(|bytes| f32::from_ne_bytes(bytes.try_into().unwrap())).collect()
}
