//! Attention, over whole sequences, over a cache and over points of grids; rotary positions.

mod attend;
mod attend_grad;
mod cache;
mod cache_write;
mod cached_attention;
mod deformable;
mod deformable_grad;
mod grid;
mod heads;
mod rope;

pub use attend::Attention;
pub use attend_grad::AttentionGrad;
pub use cache_write::CacheWrite;
pub use cached_attention::CachedAttention;
pub use deformable::DeformableAttention;
pub use deformable_grad::DeformableAttentionGrad;
pub use rope::Rope;
