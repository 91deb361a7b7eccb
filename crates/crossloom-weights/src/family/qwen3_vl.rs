//! Qwen3-VL: an encoder of pictures of any size, mergers of two by two patches, and a decoder whose first layers are followed by what
//! chosen blocks give.

use crossloom_recipe::{
    Adapter, Merging, MlpActivation, PictureFit, PointAddress, PositionResample, Projector, ProjectorKind,
    Resample, TapNorm, VisionAddress, VisionFamily, VisionModel,
};
use serde_json::json;

use super::{Architecture, Wiring, activation, decoder, layer_of};
use crate::config::Config;

/// The whole model.
pub(super) fn whole(config: &Config<'_>) -> Architecture {
    let (Some(vision_config), Some(text_config)) =
        (config.table("vision_config"), config.table("text_config"))
    else {
        return Architecture::default();
    };
    let vision = tower(&vision_config);
    let Some(mut language) = decoder::qwen3_vl_text(&text_config).language else {
        return Architecture::default();
    };
    // The whole model ties its head where it says so itself.
    language.tie_embeddings = config.flag("tie_word_embeddings", language.tie_embeddings);
    vision_config.must_be("out_hidden_size", &json!(language.hidden));
    let merge = vision_config.count("spatial_merge_size", Some(2));
    let projector = Projector {
        kind: ProjectorKind::Mlp2x,
        hidden: vision.hidden.saturating_mul(merge.saturating_mul(merge)),
        activation: MlpActivation::GeluErf,
        bias: true,
        merge,
        merging: Merging::Channels,
        norm: TapNorm::Layer,
        window: None,
        queries: None,
        heads: None,
        norm_eps: None,
    };
    let wiring = wiring(&vision_config, vision.layers, language.layers);
    Architecture {
        taps: vec![VisionAddress::Block(vision.layers)],
        vision: Some(vision),
        projector: Some(projector),
        language: Some(language),
        wiring,
        adapter: Some(Adapter::PerTap { tap_norm: TapNorm::Merged }),
        ..Architecture::default()
    }
}

/// The encoder. Its configuration has no size of pictures: that of its position embeddings stands for it until a recipe says
/// another one.
fn tower(config: &Config<'_>) -> VisionModel {
    if let Some(rope) = config.table_if_there("rope_parameters") {
        rope.must_be("rope_type", &json!("axial"));
    }
    let theta =
        config.table_if_there("rope_parameters").map_or(10_000.0, |rope| rope.number("rope_theta", 10_000.0));
    let patch_size = config.count("patch_size", Some(16));
    let positions = config.count("num_position_embeddings", Some(2304));
    let side = positions.isqrt();
    if side * side != positions {
        config.problem(format!("`num_position_embeddings` is {positions}, which are no square"));
    }
    VisionModel {
        preset: None,
        weights: None,
        family: VisionFamily::Vit,
        image_size: side.saturating_mul(patch_size),
        patch_size,
        temporal_patch: config.count("temporal_patch_size", Some(2)),
        channels: config.count("in_channels", Some(3)),
        hidden: config.count("hidden_size", Some(1152)),
        layers: config.count("depth", Some(27)),
        heads: config.count("num_heads", Some(16)),
        mlp: config.count("intermediate_size", Some(4304)),
        activation: activation(config, "hidden_act", "gelu_pytorch_tanh"),
        // No configuration says it.
        norm_eps: 1e-6,
        class_token: false,
        position_grid: Some(side),
        position_resample: PositionResample::Bilinear,
        rope_theta: Some(theta),
        pre_norm: false,
        post_norm: false,
        qkv_bias: true,
        layer_scale: false,
        patch_bias: true,
        image_mean: [0.5; 3],
        image_std: [0.5; 3],
        resample: Resample::Bicubic,
        fit: PictureFit::Stretch,
        resize_edge: None,
        anyres: None,
    }
}

/// The outputs of chosen blocks behind the first decoder layers, in their order.
fn wiring(vision: &Config<'_>, blocks: usize, layers: usize) -> Wiring {
    const KEY: &str = "deepstack_visual_indexes";
    let indexes = vision.numbers(KEY, &[8, 16, 24]);
    // What a block gives is added in the order of blocks, not of the list.
    if !indexes.is_sorted_by(|one, next| one < next) {
        vision.problem(format!("`{KEY}` is {indexes:?}, which do not ascend"));
        return Wiring::new();
    }
    let indexes = indexes.into_iter().enumerate();
    let pairs = indexes.filter_map(|(place, block)| {
        // Blocks count from 0 there, and from 1 here.
        let block = layer_of(vision, KEY, blocks, block)? + 1;
        let layer = layer_of(vision, KEY, layers, place as i64)?;
        Some((VisionAddress::Block(block), PointAddress::After(layer)))
    });
    pairs.collect()
}
