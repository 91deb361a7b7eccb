//! DINOv2's vision transformer: a class token, a factor per channel on every branch, positions that are resampled.

use crossloom_recipe::{MlpActivation, PictureFit, PositionResample, Resample, VisionFamily, VisionModel};
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
    tower_of(Dimensions {
        image_size,
        patch_size,
        channels: config.count("num_channels", Some(3)),
        hidden,
        layers: config.count("num_hidden_layers", Some(12)),
        heads: config.count("num_attention_heads", Some(12)),
        mlp: hidden.saturating_mul(config.count("mlp_ratio", Some(4))),
        activation: activation(config, "hidden_act", "gelu"),
        norm_eps: config.number("layer_norm_eps", 1e-6),
    })
}

/// The vision tower of a graph, from the shapes of its tensors. What they do not show is as in all published sizes: heads of 64,
/// GELU, an epsilon of 1e-6.
///
/// # Errors
/// A shape that is missing, or is none of such a tower.
pub(super) fn exported<'s>(shape: &dyn Fn(&str) -> Option<&'s [usize]>) -> Result<Architecture, String> {
    const HEAD: usize = 64;
    const MOST_LAYERS: usize = 1024;
    let of = |name: &str| shape(name).ok_or_else(|| format!("holds no `{name}`, which DINOv2's encoder has"));
    let patches = of("backbone.embeddings.patch_embeddings.projection.weight")?;
    let grid = of("backbone.embeddings.Reshape_1")?;
    let mlp = of("backbone.encoder.layer.0.mlp.fc1.bias")?;
    let layers = (0..MOST_LAYERS)
        .take_while(|n| shape(&format!("backbone.encoder.layer.{n}.norm1.weight")).is_some())
        .count();
    let (&[hidden, channels, patch_size, height], &[1, positions, width], &[mlp]) = (patches, grid, mlp)
    else {
        return Err(format!(
            "has patches of shape {patches:?}, positions {grid:?} and {mlp:?} hidden values"
        ));
    };
    let side = positions.isqrt();
    if height != patch_size
        || width != hidden
        || side * side != positions
        || [hidden, channels, patch_size, positions, mlp].contains(&0)
        || !hidden.is_multiple_of(HEAD)
    {
        return Err(format!("has patches of shape {patches:?} and positions of {grid:?}, which do not fit"));
    }
    Ok(tower_of(Dimensions {
        image_size: side.saturating_mul(patch_size),
        patch_size,
        channels,
        hidden,
        layers,
        heads: hidden / HEAD,
        mlp,
        activation: MlpActivation::GeluErf,
        norm_eps: 1e-6,
    }))
}

/// What differs between towers.
#[derive(Clone, Copy)]
struct Dimensions {
    image_size: usize,
    patch_size: usize,
    channels: usize,
    hidden: usize,
    layers: usize,
    heads: usize,
    mlp: usize,
    activation: MlpActivation,
    norm_eps: f64,
}

fn tower_of(of: Dimensions) -> Architecture {
    let Dimensions { image_size, patch_size, channels, hidden, layers, heads, mlp, activation, norm_eps } =
        of;
    let vision = VisionModel {
        preset: None,
        weights: None,
        family: VisionFamily::Vit,
        image_size,
        patch_size,
        temporal_patch: 1,
        channels,
        hidden,
        layers,
        heads,
        mlp,
        activation,
        norm_eps,
        class_token: true,
        position_grid: Some((image_size / patch_size).max(1)),
        position_resample: PositionResample::Bicubic,
        rope_theta: None,
        pre_norm: false,
        post_norm: true,
        qkv_bias: true,
        layer_scale: true,
        patch_bias: true,
        // Those of ImageNet.
        image_mean: [0.485, 0.456, 0.406],
        image_std: [0.229, 0.224, 0.225],
        resample: Resample::Bicubic,
        fit: PictureFit::Stretch,
        resize_edge: None,
        anyres: None,
    };
    Architecture { vision: Some(vision), ..Architecture::default() }
}
