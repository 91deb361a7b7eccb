//! Granite 4.1 Vision: nothing at the input, and window queries in front of chosen layers, four of which begin at corners.

use crossloom_recipe::{Adapter, PointAddress, TapNorm, VisionAddress};
use serde_json::{Value, json};

use super::super::config::{activation, encoder};
use super::{Whole, must, state};

/// Its configuration.
pub(super) fn config(whole: &Whole<'_>, problems: &mut Vec<String>) -> Value {
    let Whole { architecture, vision, projector, language, tokens, .. } = whole;
    let mut text = whole.decoder(problems);
    must(
        text["model_type"] == "granite" && language.head_dim * language.heads == language.hidden,
        "its decoder is not Granite's: a Llama with multipliers, whose heads are as wide as its width divided by their number",
        problems,
    );
    text["model_type"] = json!("granite4_vision_text");
    must(
        architecture.taps.is_empty(),
        "the input reads a vision state; Granite Vision begins with zeros there",
        problems,
    );
    must(
        vision.norm_eps == 1e-6,
        "its encoder's norms have not 1e-6, as Granite Vision's projectors have",
        problems,
    );
    // What is read of a configuration: transformers says the number of heads itself.
    let heads = (vision.hidden / 64).max(1);
    let windows = projector.windows();
    must(
        windows.is_some_and(|of| of.heads == heads) && projector.bias && projector.norm == TapNorm::None,
        "its window queries are not Granite Vision's: biases, no norm in front, and a head for every 64 channels",
        problems,
    );
    let (queries, window) = windows.map_or((0, 0), |of| (of.queries, of.window));
    let [mapped, spatial] = edges(whole, problems);
    // All that begin at corners read one state.
    let at_corners = spatial.first().map_or(0, |edge| edge[0]);
    must(
        spatial.len() == 4 && spatial.iter().all(|edge| edge[0] == at_corners),
        "it has not four points whose queries begin at corners of one state, as Granite Vision has",
        problems,
    );
    json!({
        "architectures": ["Granite4VisionForConditionalGeneration"],
        "model_type": "granite4_vision",
        "vision_config": encoder(vision, problems),
        "text_config": text,
        "qformer_config": {
            "model_type": "blip_2_qformer",
            "num_hidden_layers": 1,
            "cross_attention_frequency": 1,
            "use_qformer_text_input": false,
            "hidden_size": vision.hidden,
            "encoder_hidden_size": vision.hidden,
            "num_attention_heads": heads,
            "intermediate_size": projector.hidden,
            "hidden_act": activation(projector.activation),
            "layer_norm_eps": projector.norm_eps.unwrap_or(vision.norm_eps),
        },
        "downsample_rate": format!("{queries}/{window}"),
        "deepstack_layer_map": mapped,
        "spatial_vision_layer": at_corners,
        "spatial_target_layers": spatial.iter().map(|edge| edge[1]).collect::<Vec<_>>(),
        "vision_feature_select_strategy": whole.strategy(),
        // Of the sizes of tiles: the picture itself.
        "image_grid_pinpoints": [[vision.image_size, vision.image_size]],
        "image_seq_length": vision.tokens(),
        "image_token_index": tokens.image,
        "tie_word_embeddings": language.tie_embeddings,
    })
}

/// States and the layers in front of which they are added: those whose queries begin as means, in the order of the wiring, and
/// those that begin at corners, in the order of these.
fn edges(whole: &Whole<'_>, problems: &mut Vec<String>) -> [Vec<[usize; 2]>; 2] {
    let wiring = &whole.architecture.wiring;
    let Some(Adapter::PerEdge { tap_norm: TapNorm::Layer, corners }) = &whole.architecture.adapter else {
        problems.push(
            "what it adds has not a projector per edge with a norm on every patch, as Granite Vision's has"
                .to_owned(),
        );
        return [Vec::new(), Vec::new()];
    };
    let mut numbered = |(tap, point): &(VisionAddress, PointAddress)| match *point {
        PointAddress::Before(layer) => [state(*tap, problems), layer],
        _ => {
            problems.push(format!("it adds something at `{point}`; Granite Vision adds in front of layers"));
            [0, 0]
        }
    };
    let mapped: Vec<_> =
        wiring.iter().filter(|(_, point)| !corners.contains(point)).map(&mut numbered).collect();
    let at_corners =
        corners.iter().flat_map(|corner| wiring.iter().filter(move |(_, point)| point == corner));
    let spatial: Vec<_> = at_corners.map(&mut numbered).collect();
    for (place, [_, layer]) in mapped.iter().chain(&spatial).enumerate() {
        if mapped.iter().chain(&spatial).skip(place + 1).any(|[_, other]| other == layer) {
            problems.push(format!(
                "it adds several states to layer {layer}, of which Granite Vision keeps the last"
            ));
        }
    }
    [mapped, spatial]
}
