//! Injection: taps → adapter → points → wiring → fusion and gate.

mod adapter;
mod gate;
mod inject;

pub(crate) use adapter::{Features, adapt};
pub(crate) use inject::{Injector, PointGates};
