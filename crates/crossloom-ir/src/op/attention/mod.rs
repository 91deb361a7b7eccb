//! Attention, over whole sequences and over a cache; rotary positions.

mod attend;
mod attend_grad;
mod cache;
mod cache_write;
mod cached_attention;
mod heads;
mod rope;

pub use attend::Attention;
pub use attend_grad::AttentionGrad;
pub use cache_write::CacheWrite;
pub use cached_attention::CachedAttention;
pub use rope::Rope;
