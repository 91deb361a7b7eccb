//! LLaVA-1.5 and LLaVA-OneVision: an encoder, a projector of two layers, a decoder.

use crossloom_recipe::{Projector, ProjectorKind, VisionAddress};
use serde_json::json;

use super::{Architecture, activation, read};
use crate::config::Config;

/// LLaVA-1.5: the state before the last block, without the class token.
pub(super) fn llava(config: &Config<'_>) -> Architecture {
    config.must_be("vision_feature_select_strategy", &json!("default"));
    whole(config, -2)
}

/// LLaVA-OneVision: the last state of an encoder without a class token.
pub(super) fn onevision(config: &Config<'_>) -> Architecture {
    config.must_be("vision_feature_select_strategy", &json!("full"));
    whole(config, -1)
}

fn whole(config: &Config<'_>, default_layer: i64) -> Architecture {
    let part = |key: &str| config.table(key).map(|part| read(&part)).unwrap_or_default();
    let (vision, language) = (part("vision_config").vision, part("text_config").language);
    let (Some(vision), Some(mut language)) = (vision, language) else {
        config.problem(
            "`vision_config` must be a vision encoder and `text_config` a language model".to_owned(),
        );
        return Architecture::default();
    };
    // The whole model ties its head where it says so itself.
    language.tie_embeddings = config.flag("tie_word_embeddings", language.tie_embeddings);
    let projector = Projector {
        kind: ProjectorKind::Mlp2x,
        hidden: language.hidden,
        activation: activation(config, "projector_hidden_act", "gelu"),
        bias: config.flag("multimodal_projector_bias", true),
    };
    const LAYERS: &str = "vision_feature_layer";
    let layers = config.layers(LAYERS, default_layer);
    let taps = layers.iter().filter_map(|&layer| state(config, LAYERS, vision.layers, layer)).collect();
    Architecture { vision: Some(vision), projector: Some(projector), language: Some(language), taps }
}

/// The address of `hidden_states[layer]`, which has the embeddings first and then the output of every block. The last is read
/// before the norm behind it, as LLaVA was trained.
pub(super) fn state(config: &Config<'_>, key: &str, blocks: usize, layer: i64) -> Option<VisionAddress> {
    let states = blocks as i64 + 1;
    let index = if layer < 0 { states + layer } else { layer };
    match usize::try_from(index).ok().filter(|_| index < states) {
        Some(0) => Some(VisionAddress::Embed),
        Some(block) => Some(VisionAddress::Block(block)),
        None => {
            config.problem(format!("`{key}` is {layer}, but the encoder has {states} hidden states"));
            None
        }
    }
}
