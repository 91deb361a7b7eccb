//! Injection of vision features into a decoder: adaptive projection of the taps (AMP), attention pooling, gates, and the
//! gated update (AGF).

mod agf_gate;
mod agf_gate_weights;
mod agf_inject;
mod agf_inject_grad;
mod amp_project;
mod amp_project_expand;
mod attn_pool;
mod attn_pool_grad;

pub use agf_gate::{AgfGate, PoolAttention};
pub use agf_inject::AgfInject;
pub use agf_inject_grad::AgfInjectGrad;
pub use amp_project::{AmpProject, Attach};
pub use attn_pool::AttnPool;
pub use attn_pool_grad::AttnPoolGrad;
