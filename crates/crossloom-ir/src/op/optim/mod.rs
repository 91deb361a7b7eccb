//! The optimizer step.

mod adamw;
mod global_norm;

pub use adamw::AdamW;
pub use global_norm::GlobalNorm;
