//! What proves a device, and the interface itself: a device whose memory the host cannot reach, and the suite of sessions
//! that every device must pass.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a suite of tests fails by panicking"
)]

mod separate;
pub mod suite;

pub use separate::{Fault, SeparateDevice};
