//! Attention and rotary positions.

mod attend;
mod attend_grad;
mod heads;
mod rope;

pub use attend::Attention;
pub use attend_grad::AttentionGrad;
pub use rope::Rope;
