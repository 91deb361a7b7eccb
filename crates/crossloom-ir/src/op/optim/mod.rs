//! The optimizer step.

mod adamw;
mod global_norm;
mod multi_adamw;

pub use adamw::AdamW;
pub use global_norm::GlobalNorm;
pub use multi_adamw::MultiAdamW;
