//! The checks, each of one thing that is to be true.

pub(crate) mod alignment;
pub(crate) mod gates;
pub(crate) mod gradient;
pub(crate) mod layout;
pub(crate) mod liveness;
pub(crate) mod owners;
pub(crate) mod phases;
pub(crate) mod plans;
pub(crate) mod secrets;
pub(crate) mod settings;
pub(crate) mod structure;
pub(crate) mod taps;
