//! Qwen3-VL: patches merged at the input, and chosen blocks merged alike and added behind the first layers.

use crossloom_recipe::{
    Adapter, LanguageFamily, Merging, MlpActivation, PointAddress, PositionResample, TapNorm, VisionAddress,
};
use serde_json::{Value, json};

use super::super::config::{activation, decoder};
use super::{Whole, must};

/// Its configuration.
pub(super) fn config(whole: &Whole<'_>, problems: &mut Vec<String>) -> Value {
    let Whole { architecture, projector, language, tokens, .. } = whole;
    let text = text(whole, problems);
    let vision = vision(whole, problems);
    must(
        architecture.taps == [VisionAddress::Block(whole.vision.layers)],
        "its projector reads other states than the last, which Qwen3-VL's alone does",
        problems,
    );
    must(
        projector.norm == TapNorm::Layer
            && projector.merging == Merging::Channels
            && projector.activation == MlpActivation::GeluErf
            && projector.bias,
        "its projector is not Qwen3-VL's: a norm on every patch, whose channels lie side by side, biases, GELU",
        problems,
    );
    let block = whole.vision.hidden.saturating_mul(projector.merge.saturating_mul(projector.merge));
    if projector.hidden != block {
        problems.push(format!(
            "its projector is {} wide inside; Qwen3-VL's is as wide as the patches that it merges, {block}",
            projector.hidden
        ));
    }
    json!({
        "architectures": ["Qwen3VLForConditionalGeneration"],
        "model_type": "qwen3_vl",
        "vision_config": vision,
        "text_config": text,
        "image_token_id": tokens.image,
        "tie_word_embeddings": language.tie_embeddings,
    })
}

/// The decoder, which is Qwen3 but for its positions.
fn text(whole: &Whole<'_>, problems: &mut Vec<String>) -> Value {
    let mut plain = whole.language.clone();
    let sections = plain.rope_sections.take();
    must(plain.family == LanguageFamily::Qwen3, "its decoder is not Qwen3, as Qwen3-VL's is", problems);
    let mut text = decoder(&plain, whole.tensors, whole.tokens, problems);
    text["model_type"] = json!("qwen3_vl_text");
    text["rope_parameters"]["mrope_section"] = json!(sections);
    text["rope_parameters"]["mrope_interleaved"] = json!(true);
    text
}

fn vision(whole: &Whole<'_>, problems: &mut Vec<String>) -> Value {
    let (vision, projector) = (whole.vision, whole.projector);
    let settings = [vision.class_token, vision.pre_norm, vision.post_norm, vision.layer_scale];
    must(
        settings == [false; 4] && vision.qkv_bias && vision.patch_bias && vision.norm_eps == 1e-6,
        "its encoder is not Qwen3-VL's: no class token, no norm in front or behind, no scaled blocks, biases, norms with 1e-6",
        problems,
    );
    let side = vision.position_grid.unwrap_or(vision.grid());
    must(
        vision.position_resample == PositionResample::Bilinear || side == vision.grid(),
        "its encoder resamples its positions by a cubic; Qwen3-VL's does between the two nearest",
        problems,
    );
    must(vision.rope_theta.is_some(), "its encoder turns no patches; Qwen3-VL's does", problems);
    json!({
        "model_type": "qwen3_vl_vision",
        "depth": vision.layers,
        "hidden_size": vision.hidden,
        "hidden_act": activation(vision.activation),
        "intermediate_size": vision.mlp,
        "num_heads": vision.heads,
        "in_channels": vision.channels,
        "patch_size": vision.patch_size,
        "temporal_patch_size": vision.temporal_patch,
        "spatial_merge_size": projector.merge,
        "out_hidden_size": whole.language.hidden,
        "num_position_embeddings": side.saturating_mul(side),
        "deepstack_visual_indexes": blocks(whole, problems),
        "rope_parameters": { "rope_type": "axial", "rope_theta": vision.rope_theta },
    })
}

/// The blocks whose outputs are added behind the first layers, counted from 0.
fn blocks(whole: &Whole<'_>, problems: &mut Vec<String>) -> Vec<usize> {
    let wiring = &whole.architecture.wiring;
    let in_turn = wiring.iter().enumerate().all(|(layer, (_, point))| *point == PointAddress::After(layer));
    let blocks = wiring.iter().filter_map(|(tap, _)| match *tap {
        VisionAddress::Block(block) => block.checked_sub(1),
        _ => None,
    });
    let blocks: Vec<usize> = blocks.collect();
    must(
        in_turn && blocks.len() == wiring.len() && blocks.is_sorted_by(|one, next| one < next),
        "it does not add ascending blocks behind the layers 0, 1, 2 and so on, one each, as Qwen3-VL does",
        problems,
    );
    must(
        wiring.is_empty()
            || whole.architecture.adapter == Some(Adapter::PerTap { tap_norm: TapNorm::Merged }),
        "what it adds has not a projector per tap with a norm on merged patches, as Qwen3-VL's has",
        problems,
    );
    blocks
}
