//! LLaVA-1.5 and LLaVA-OneVision: an encoder, a projector of two layers, a decoder.

use crossloom_recipe::{
    LanguageModel, Merging, Projector, ProjectorKind, TapNorm, VisionAddress, VisionModel,
};

use super::{Architecture, activation, read};
use crate::config::Config;

/// LLaVA-1.5: the state before the last block, without the first token unless it says otherwise.
pub(super) fn llava(config: &Config<'_>) -> Architecture {
    whole(config, -2, "default")
}

/// LLaVA-OneVision: the last state, all tokens of it.
pub(super) fn onevision(config: &Config<'_>) -> Architecture {
    whole(config, -1, "full")
}

/// `default` leaves out the first token, `full` none. Visual tokens here are all patches and no class token, which is the one for
/// an encoder that has such a token and the other for one that has none.
fn strategy(config: &Config<'_>, vision: &VisionModel, default: &'static str) {
    const STRATEGY: &str = "vision_feature_select_strategy";
    let strategy = config.word(STRATEGY, Some(default));
    let patches = if vision.class_token { "default" } else { "full" };
    if strategy != patches {
        config.problem(format!(
            "`{STRATEGY}` is \"{strategy}\"; with this encoder only \"{patches}\", all patches and nothing else, is supported"
        ));
    }
}

/// The encoder and the language model of a whole model that has a configuration of each.
pub(super) fn halves(
    config: &Config<'_>,
    default_strategy: &'static str,
) -> Option<(VisionModel, LanguageModel)> {
    let part = |key: &str| config.table(key).map(|part| read(&part)).unwrap_or_default();
    let halves = part("vision_config").vision.zip(part("text_config").language);
    if halves.is_none() {
        config.problem(
            "`vision_config` must be a vision encoder and `text_config` a language model".to_owned(),
        );
    }
    let (vision, mut language) = halves?;
    strategy(config, &vision, default_strategy);
    // The whole model ties its head where it says so itself.
    language.tie_embeddings = config.flag("tie_word_embeddings", language.tie_embeddings);
    Some((vision, language))
}

fn whole(config: &Config<'_>, default_layer: i64, default_strategy: &'static str) -> Architecture {
    let Some((vision, language)) = halves(config, default_strategy) else { return Architecture::default() };
    let projector = Projector {
        kind: ProjectorKind::Mlp2x,
        hidden: language.hidden,
        activation: activation(config, "projector_hidden_act", "gelu"),
        bias: config.flag("multimodal_projector_bias", true),
        merge: 1,
        merging: Merging::Channels,
        norm: TapNorm::None,
        window: None,
        queries: None,
        heads: None,
        norm_eps: None,
    };
    const LAYERS: &str = "vision_feature_layer";
    let layers = config.layers(LAYERS, default_layer);
    let taps = layers.iter().filter_map(|&layer| state(config, LAYERS, vision.layers, layer)).collect();
    Architecture {
        vision: Some(vision),
        projector: Some(projector),
        language: Some(language),
        taps,
        ..Architecture::default()
    }
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
