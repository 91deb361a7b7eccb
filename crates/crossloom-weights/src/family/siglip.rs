//! SigLIP's vision transformer: no class token, a bias in the patch embedding, a norm behind the last block.

use crossloom_recipe::{Resample, VisionFamily, VisionModel};

use super::{Architecture, activation};
use crate::config::Config;

/// Both towers, of which the vision tower is read.
pub(super) fn whole(config: &Config<'_>) -> Architecture {
    config.table("vision_config").map(|config| tower(&config)).unwrap_or_default()
}

/// The vision tower. Its attention-pooling head reads the last state for tasks that are not ours, and is left out.
pub(super) fn tower(config: &Config<'_>) -> Architecture {
    let vision = VisionModel {
        preset: None,
        family: VisionFamily::Vit,
        image_size: config.count("image_size", Some(224)),
        patch_size: config.count("patch_size", Some(16)),
        channels: config.count("num_channels", Some(3)),
        hidden: config.count("hidden_size", Some(768)),
        layers: config.count("num_hidden_layers", Some(12)),
        heads: config.count("num_attention_heads", Some(12)),
        mlp: config.count("intermediate_size", Some(3072)),
        activation: activation(config, "hidden_act", "gelu_pytorch_tanh"),
        norm_eps: config.number("layer_norm_eps", 1e-6),
        class_token: false,
        pre_norm: false,
        post_norm: true,
        qkv_bias: true,
        patch_bias: true,
        image_mean: [0.5; 3],
        image_std: [0.5; 3],
        resample: Resample::Bicubic,
    };
    Architecture { vision: Some(vision), ..Architecture::default() }
}
