//! CUDA: what a machine has of it.
//!
//! [`probe`](mod@probe) looks for the driver and for NVIDIA's libraries, says where they are, which versions they have and what they
//! lack, and lists the devices. Nothing is linked: one program runs with and without a GPU, and nothing here panics
//! because a library or a function of it is not there.

pub mod probe;
