//! DINOv2's vision transformer: a class token, a factor per channel on every branch, positions that are resampled.

use crossloom_recipe::{Resample, VisionFamily, VisionModel};
use serde_json::{Value, json};

use super::{Architecture, activation};
use crate::config::Config;

/// The vision tower. Its `image_size` is that of the position embeddings, which stay on that grid whatever pictures are read.
pub(super) fn tower(config: &Config<'_>) -> Architecture {
    // SwiGLU in place of the feed-forward layer, as in the giant model.
    config.must_be("use_swiglu_ffn", &Value::Bool(false));
    // Without these the output projection would still have one.
    config.must_be("qkv_bias", &Value::Bool(true));
    config.must_be("drop_path_rate", &json!(0.0));
    let hidden = config.count("hidden_size", Some(768));
    let image_size = config.count("image_size", Some(224));
    let patch_size = config.count("patch_size", Some(14));
    let vision = VisionModel {
        preset: None,
        weights: None,
        family: VisionFamily::Vit,
        image_size,
        patch_size,
        channels: config.count("num_channels", Some(3)),
        hidden,
        layers: config.count("num_hidden_layers", Some(12)),
        heads: config.count("num_attention_heads", Some(12)),
        mlp: hidden.saturating_mul(config.count("mlp_ratio", Some(4))),
        activation: activation(config, "hidden_act", "gelu"),
        norm_eps: config.number("layer_norm_eps", 1e-6),
        class_token: true,
        position_grid: Some((image_size / patch_size).max(1)),
        pre_norm: false,
        post_norm: true,
        qkv_bias: true,
        layer_scale: true,
        patch_bias: true,
        // Those of ImageNet.
        image_mean: [0.485, 0.456, 0.406],
        image_std: [0.229, 0.224, 0.225],
        resample: Resample::Bicubic,
    };
    Architecture { vision: Some(vision), ..Architecture::default() }
}
