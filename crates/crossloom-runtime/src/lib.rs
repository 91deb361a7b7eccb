//! What runs plans: devices, sessions over stores of named tensors, and how much memory there is.
//!
//! This crate knows no kernel. A device brings its own; everything else here is the same on all of them.
//!
//! - [`Device`] is implemented once per kind of hardware, with the four objects it hands out: [`DeviceQueue`],
//!   [`DeviceMemory`], [`DeviceProgram`] and [`DeviceBound`].
//! - [`Executable`] is a plan made ready for a device: immutable, shared, without memory.
//! - [`Store`] holds named tensors of one device, each with a [`Home`]: owned, mapped from a file, or lent.
//! - [`Arena`] is what sessions over one store that never run at once share.
//! - [`Session`] binds an executable to a store and an arena: write inputs, run, read results.
//!
//! **Memory of a device is reachable through its queue alone**, and a store owns one queue behind a lock. So however
//! sessions share a store and arenas, two of them never touch one piece of memory at the same time, and nothing outside
//! a device's own crate holds a pointer into it. A lock is taken once per call of a session; it is never held while code
//! of the caller runs.
//!
//! **Devices may be asynchronous.** [`Session::run`] may return before the work is done; what was started on a queue
//! first is done first. [`Session::read`] waits, and an error of the work surfaces there or in [`Session::wait`].

mod arena;
mod budget;
mod device;
mod element;
mod error;
mod executable;
pub mod limits;
mod mapped;
mod null;
mod session;
mod store;
#[cfg(feature = "testing")]
pub mod testing;

pub use arena::Arena;
pub use budget::{Budget, Reservation};
pub use device::{Device, DeviceBound, DeviceMemory, DeviceProgram, DeviceQueue, Event, HostBytes, Pending};
pub use element::Element;
pub use error::RunError;
pub use executable::{Executable, VerifiedPlan};
pub use mapped::{Header, Located, MappedFile, MappedTensor, safetensors_header};
pub use null::NullDevice;
pub use session::{NonFinite, Session, StepTime};
pub use store::{Home, Store, TensorInfo};
