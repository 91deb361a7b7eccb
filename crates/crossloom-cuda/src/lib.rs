//! CUDA: what a machine has of it, kernels generated from plans, and kernels on the processor.
//!
//! * [`probe`](mod@probe) looks for the driver and for NVIDIA's libraries, says where they are, which versions they have and what
//!   they lack, and lists the devices. Nothing is linked: one program runs with and without a GPU, and nothing here panics
//!   because a library or a function of it is not there.
//! * [`CudaTarget`] says which ops have kernels; [`lower`](mod@lower) gives the launches of an op, each with its source: CUDA C that
//!   includes nothing, with shapes as constants, to stand behind [`PRELUDE`]; [`Generated`] is those of whole plans.
//! * [`product`] is matrix products by NVIDIA's library, for plans of a [`CudaTarget`] that asks for it.
//! * [`nvrtc`] compiles that source for an architecture, without a device.
//! * [`CudaDevice`] runs plans through a small [`Driver`]; [`GpuDriver`] is that of a GPU, [`FakeDriver`] one without.
//! * [`shim`] builds the same source with the system's C++ compiler and runs it, so that kernels are tested where there is no
//!   GPU.
//!
//! Every sum has one order, which depends on shapes alone; there are no atomics in sums. A row's result does not depend on the other
//! rows of a call, unless products are the library's.

pub mod cubins;
mod device;
mod generated;
mod geometry;
pub mod launch;
pub mod lower;
pub mod nvrtc;
pub mod probe;
pub mod product;
pub mod shim;
mod target;

pub use device::{Choice, CudaDevice, Driver, FakeDriver, GpuDriver, GpuError, Graph, Mark, Module, Stream};
pub use generated::Generated;
pub use geometry::Geometry;
pub use target::CudaTarget;

/// What all kernels share, in the language of both compilers.
macro_rules! common {
    () => {
        concat!(
            include_str!("source/numbers.cuh"),
            "\n",
            include_str!("source/blocks.cuh"),
            "\n",
            include_str!("source/teams.cuh"),
            "\n",
            include_str!("source/activations.cuh"),
            "\n",
            include_str!("source/products.cuh"),
            "\n",
            include_str!("source/tiles.cuh"),
            "\n",
            include_str!("source/attention.cuh"),
            "\n",
            include_str!("source/rows.cuh"),
            "\n",
            include_str!("source/grids.cuh"),
        )
    };
}

/// The same, as a text.
pub(crate) const COMMON: &str = common!();

/// What stands in front of kernels where a device's compiler reads them.
pub const PRELUDE: &str = concat!(include_str!("source/device.cuh"), "\n", common!());
