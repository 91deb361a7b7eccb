//! Injection: taps → adapter → points → wiring → fusion and gate.

mod adapter;
mod cross_attention;
mod gate;
mod inject;

pub(crate) use adapter::{Features, adapt};
pub(crate) use cross_attention::PictureCache;
pub(crate) use inject::{Injector, PointGates, inject};
