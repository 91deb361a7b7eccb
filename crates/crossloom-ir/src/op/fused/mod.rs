//! Regions: several element-wise ops as one.

mod elementwise;
mod program;

pub use elementwise::FusedElementwise;
pub use program::{Load, Step};
