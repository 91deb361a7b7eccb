//! The vision transformer that CLIP's and SigLIP's towers share: the same keys, other defaults.

use crossloom_recipe::{PictureFit, PositionResample, Resample, VisionFamily, VisionModel};

use super::{Architecture, activation};
use crate::config::Config;

/// What a family has where its configuration is silent, and what no configuration says.
pub(super) struct Defaults {
    pub(super) patch_size: usize,
    pub(super) activation: &'static str,
    pub(super) norm_eps: f64,
    /// A class token, and with it a norm on the embeddings and a patch embedding without a bias.
    pub(super) class_token: bool,
    pub(super) image_mean: [f64; 3],
    pub(super) image_std: [f64; 3],
}

/// The vision tower of a configuration of two.
pub(super) fn beside_text(config: &Config<'_>, defaults: &Defaults) -> Architecture {
    config.table("vision_config").map(|config| tower(&config, defaults)).unwrap_or_default()
}

/// A vision tower.
pub(super) fn tower(config: &Config<'_>, defaults: &Defaults) -> Architecture {
    let vision = VisionModel {
        preset: None,
        weights: None,
        family: VisionFamily::Vit,
        image_size: config.count("image_size", Some(224)),
        patch_size: config.count("patch_size", Some(defaults.patch_size)),
        temporal_patch: 1,
        channels: config.count("num_channels", Some(3)),
        hidden: config.count("hidden_size", Some(768)),
        layers: config.count("num_hidden_layers", Some(12)),
        heads: config.count("num_attention_heads", Some(12)),
        mlp: config.count("intermediate_size", Some(3072)),
        activation: activation(config, "hidden_act", defaults.activation),
        norm_eps: config.number("layer_norm_eps", defaults.norm_eps),
        class_token: defaults.class_token,
        position_grid: None,
        position_resample: PositionResample::Bicubic,
        rope_theta: None,
        pre_norm: defaults.class_token,
        post_norm: true,
        qkv_bias: true,
        layer_scale: false,
        patch_bias: !defaults.class_token,
        image_mean: defaults.image_mean,
        image_std: defaults.image_std,
        resample: Resample::Bicubic,
        fit: PictureFit::Stretch,
        resize_edge: None,
        anyres: None,
    };
    Architecture { vision: Some(vision), ..Architecture::default() }
}
