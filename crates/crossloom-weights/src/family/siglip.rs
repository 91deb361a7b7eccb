//! SigLIP's vision transformer: no class token, a bias in the patch embedding, a norm behind the last block.

use super::Architecture;
use super::vit::{self, Defaults};
use crate::config::Config;

const SIGLIP: Defaults = Defaults {
    patch_size: 16,
    activation: "gelu_pytorch_tanh",
    norm_eps: 1e-6,
    class_token: false,
    image_mean: [0.5; 3],
    image_std: [0.5; 3],
};

/// Both towers, of which the vision tower is read.
pub(super) fn whole(config: &Config<'_>) -> Architecture {
    vit::beside_text(config, &SIGLIP)
}

/// The vision tower. Its attention-pooling head reads the last state for tasks that are not ours, and is left out.
pub(super) fn tower(config: &Config<'_>) -> Architecture {
    vit::tower(config, &SIGLIP)
}
