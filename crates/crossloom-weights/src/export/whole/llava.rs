//! LLaVA: one projector, whose tokens stand at the input; LLaVA-OneVision, where pictures are cut into tiles.

use crossloom_recipe::{TapNorm, VisionModel};
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
    let mut config = json!({
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
    });
    if let Some(anyres) = vision.anyres {
        config["architectures"] = json!(["LlavaOnevisionForConditionalGeneration"]);
        config["model_type"] = json!("llava_onevision");
        config["image_grid_pinpoints"] = json!(grids(vision));
        config["vision_aspect_ratio"] = json!(format!("anyres_max_{}", anyres.most_tiles));
    }
    config
}

/// The processor of pictures that are cut into tiles.
pub(super) fn tiles(vision: &VisionModel) -> Value {
    let mut processor = crate::processor::shared(vision, "LlavaOnevisionImageProcessor");
    processor["size"] = json!({ "height": vision.image_size, "width": vision.image_size });
    processor["do_pad"] = json!(true);
    processor["image_grid_pinpoints"] = json!(grids(vision));
    processor
}

/// Heights and widths of the grids that a picture may be cut into, in pixels.
fn grids(vision: &VisionModel) -> Vec<[usize; 2]> {
    let most = vision.anyres.map_or(0, |anyres| anyres.side);
    let of_rows =
        |rows: usize| (1..=most).map(move |columns| [rows * vision.image_size, columns * vision.image_size]);
    (1..=most).flat_map(of_rows).collect()
}
