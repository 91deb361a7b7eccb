//! Granite 4.1 Vision: SigLIP's states go through window queries into decoder layers that its configuration maps them to; nothing of
//! the picture is at the input.

use crossloom_recipe::{Adapter, Merging, PointAddress, Projector, ProjectorKind, TapNorm};
use serde_json::{Value, json};

use super::llava::{halves, state};
use super::{Architecture, Wiring, activation, layer_of};
use crate::config::Config;

/// The whole model, as far as it reads a picture at one size.
pub(super) fn whole(config: &Config<'_>) -> Architecture {
    let Some((vision, language)) = halves(config, "default") else { return Architecture::default() };
    // No configuration says it of the norms in front of its projectors, which have the encoder's here.
    if vision.norm_eps != 1e-6 {
        config.problem(format!(
            "`vision_config.layer_norm_eps` is {}; only 1e-6 is supported",
            vision.norm_eps
        ));
    }
    let (wiring, corners) = wiring(config, vision.layers, language.layers);
    let projector = projector(config, vision.hidden);
    Architecture {
        vision: Some(vision),
        projector: Some(projector),
        language: Some(language),
        wiring,
        adapter: Some(Adapter::PerEdge { tap_norm: TapNorm::Layer, corners }),
        ..Architecture::default()
    }
}

/// What all its projectors are like: a Q-Former of one layer over windows.
fn projector(config: &Config<'_>, width: usize) -> Projector {
    const RATE: &str = "downsample_rate";
    let rate = config.word(RATE, None);
    let sides = rate.split_once('/').and_then(|(queries, window)| {
        let count = |text: &str| text.trim().parse::<usize>().ok().filter(|&side| side > 0);
        count(queries).zip(count(window))
    });
    if sides.is_none() && !rate.is_empty() {
        config.problem(format!(
            "`{RATE}` is \"{rate}\"; queries by patches of a window's side are expected, as \"4/8\""
        ));
    }
    let (queries, window) = sides.unwrap_or((1, 1));
    let mut projector = Projector {
        kind: ProjectorKind::WindowQueries,
        hidden: 3072,
        activation: crossloom_recipe::MlpActivation::GeluErf,
        bias: true,
        merge: 1,
        merging: Merging::Channels,
        norm: TapNorm::None,
        window: Some(window),
        queries: Some(queries),
        heads: Some((width / 64).max(1)),
        norm_eps: Some(1e-12),
    };
    if let Some(of) = config.table_if_there("qformer_config") {
        for (key, supported) in [
            ("num_hidden_layers", json!(1)),
            ("cross_attention_frequency", json!(1)),
            ("use_qformer_text_input", Value::Bool(false)),
            ("hidden_size", json!(width)),
            ("encoder_hidden_size", json!(width)),
        ] {
            of.must_be(key, &supported);
        }
        projector.hidden = of.count("intermediate_size", Some(3072));
        projector.activation = activation(&of, "hidden_act", "gelu");
        projector.heads = Some(of.count("num_attention_heads", projector.heads));
        projector.norm_eps = Some(of.number("layer_norm_eps", 1e-12));
    }
    projector
}

/// Which state is added before which layer, and the layers whose queries begin at corners.
fn wiring(config: &Config<'_>, blocks: usize, layers: usize) -> (Wiring, Vec<PointAddress>) {
    const SPATIAL: &str = "spatial_target_layers";
    let tap = config.index("spatial_vision_layer", -1);
    let mapped = config.pairs("deepstack_layer_map").into_iter();
    let mapped = mapped.map(|[state, layer]| ("deepstack_layer_map", state, layer));
    let spatial = config.numbers(SPATIAL, &[12, 15, 18, 21]).into_iter();
    let spatial = spatial.map(|layer| (SPATIAL, tap, layer));
    let (mut wiring, mut corners) = (Wiring::new(), Vec::new());
    for (key, tap, layer) in mapped.chain(spatial) {
        let tap = state(config, key, blocks, tap);
        let point = layer_of(config, key, layers, layer).map(PointAddress::Before);
        let (Some(tap), Some(point)) = (tap, point) else { continue };
        // Its code keeps the last of two.
        if wiring.iter().any(|(_, known)| *known == point) {
            config.problem(format!("`{key}` names layer {layer}, which is named already"));
            continue;
        }
        wiring.push((tap, point));
        if key == SPATIAL {
            corners.push(point);
        }
    }
    (wiring, corners)
}
