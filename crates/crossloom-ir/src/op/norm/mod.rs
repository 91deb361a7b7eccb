//! Normalization of rows: layer norm and RMS norm, each alone, after a residual addition, and backwards.

mod add_layer_norm;
mod add_rms_norm;
mod layer_norm;
mod layer_norm_grad;
mod rms_norm;
mod rms_norm_grad;

pub use add_layer_norm::AddLayerNorm;
pub use add_rms_norm::AddRmsNorm;
pub use layer_norm::LayerNorm;
pub use layer_norm_grad::LayerNormGrad;
pub use rms_norm::RmsNorm;
pub use rms_norm_grad::RmsNormGrad;
