//! Injection of vision features into a decoder: adaptive projection of the taps (AMP), attention pooling, gates, and the
//! gated update (AGF).

mod agf_gate;
mod agf_gate_weights;
mod agf_inject;
mod agf_inject_grad;
mod agf_inject_norm;
mod agf_inject_norm_grad;
mod amp_project;
mod amp_project_expand;
mod attn_pool;
mod attn_pool_grad;
mod low_rank_linear;

pub use agf_gate::{AgfGate, PoolAttention};
pub use agf_inject::AgfInject;
pub use agf_inject_grad::AgfInjectGrad;
pub use agf_inject_norm::{AgfInjectNorm, NormKind};
pub use agf_inject_norm_grad::AgfInjectNormGrad;
pub use amp_project::{AmpProject, Attach};
pub use attn_pool::AttnPool;
pub use attn_pool_grad::AttnPoolGrad;
pub use low_rank_linear::LowRankLinear;
