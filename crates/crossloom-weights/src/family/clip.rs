//! CLIP's vision transformer: a class token, a norm before the first block, no bias in the patch embedding.

use crossloom_recipe::{Resample, VisionFamily, VisionModel};

use super::{Architecture, activation};
use crate::config::Config;

/// Statistics of the pictures that CLIP was trained on.
const MEAN: [f64; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const STD: [f64; 3] = [0.268_629_54, 0.261_302_58, 0.275_777_11];

/// Both towers, of which the vision tower is read.
pub(super) fn whole(config: &Config<'_>) -> Architecture {
    config.table("vision_config").map(|config| tower(&config)).unwrap_or_default()
}

/// The vision tower.
pub(super) fn tower(config: &Config<'_>) -> Architecture {
    let vision = VisionModel {
        preset: None,
        family: VisionFamily::Vit,
        image_size: config.count("image_size", Some(224)),
        patch_size: config.count("patch_size", Some(32)),
        channels: config.count("num_channels", Some(3)),
        hidden: config.count("hidden_size", Some(768)),
        layers: config.count("num_hidden_layers", Some(12)),
        heads: config.count("num_attention_heads", Some(12)),
        mlp: config.count("intermediate_size", Some(3072)),
        activation: activation(config, "hidden_act", "quick_gelu"),
        norm_eps: config.number("layer_norm_eps", 1e-5),
        class_token: true,
        pre_norm: true,
        post_norm: true,
        qkv_bias: true,
        patch_bias: false,
        image_mean: MEAN,
        image_std: STD,
        resample: Resample::Bicubic,
    };
    Architecture { vision: Some(vision), ..Architecture::default() }
}
