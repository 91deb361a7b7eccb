//! LLaVA: one projector, whose tokens stand at the input.

use crossloom_recipe::TapNorm;
use serde_json::{Value, json};

use super::super::config::{activation, encoder};
use super::{Whole, must, state};

/// Its configuration.
pub(super) fn config(whole: &Whole<'_>, problems: &mut Vec<String>) -> Value {
    let Whole { architecture, vision, projector, language, tokens, .. } = whole;
    must(
        architecture.wiring.is_empty(),
        "it injects vision states into decoder layers, which no LLaVA does",
        problems,
    );
    if projector.hidden != language.hidden {
        problems.push(format!(
            "its projector is {} wide inside; LLaVA's is as wide as the language model, {}",
            projector.hidden, language.hidden
        ));
    }
    must(
        projector.merge == 1 && projector.norm == TapNorm::None,
        "its projector merges patches or has a norm in front; LLaVA's does not",
        problems,
    );
    let layers: Vec<usize> = architecture.taps.iter().map(|tap| state(*tap, problems)).collect();
    let layers = match layers[..] {
        [layer] => json!(layer),
        _ => json!(layers),
    };
    json!({
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        "vision_config": encoder(vision, problems),
        "text_config": whole.decoder(problems),
        "projector_hidden_act": activation(projector.activation),
        "multimodal_projector_bias": projector.bias,
        "vision_feature_layer": layers,
        "vision_feature_select_strategy": whole.strategy(),
        "image_token_index": tokens.image,
        "image_seq_length": vision.tokens(),
        "tie_word_embeddings": language.tie_embeddings,
    })
}
