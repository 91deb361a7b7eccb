//! Models that add vision states to their decoder's layers themselves: Granite 4.1 Vision and Qwen3-VL.
//!
//! Their encoders, projectors or multipliers are not built, so that none of their weights are read. Which state feeds which
//! layer is what a topology says too: it is told in a recipe's words.

use crossloom_recipe::{PointAddress, VisionAddress};

use super::llava::state;
use super::read;
use crate::Architecture;
use crate::config::Config;

/// Pairs as a recipe's `topology.wiring` lists them.
pub type Wiring = Vec<(VisionAddress, PointAddress)>;

/// Granite 4.1 Vision maps vision states to decoder layers by its configuration, and adds what it made of them before the layer.
pub(super) fn granite(config: &Config<'_>) -> Architecture {
    let wiring = granite_wiring(config);
    let problem = "its projectors are Q-formers over windows, its pictures are packed from tiles, and its decoder has \
                   multipliers";
    refuse(config, problem, &wiring)
}

pub(super) fn granite_wiring(config: &Config<'_>) -> Wiring {
    let (Some(vision), Some(text)) = (config.table("vision_config"), config.table("text_config")) else {
        return Wiring::new();
    };
    let layers = text.count("num_hidden_layers", Some(32));
    // `hidden_states` of the encoder, whichever it is.
    let Some(vision) = read(&vision).vision else { return Wiring::new() };
    let spatial = config.index("spatial_vision_layer", -1);
    let targets = config.numbers("spatial_target_layers", &[12, 15, 18, 21]);
    let mapped = config.pairs("deepstack_layer_map").into_iter();
    let mapped = mapped.map(|[state, layer]| ("deepstack_layer_map", state, layer));
    let spatial = targets.into_iter().map(|layer| ("spatial_target_layers", spatial, layer));
    let pairs = mapped.chain(spatial).filter_map(|(key, tap, layer)| {
        let tap = state(config, key, vision.layers, tap);
        Some((tap?, PointAddress::Before(layer_of(config, key, layers, layer)?)))
    });
    pairs.collect()
}

/// A layer's number, which must be one of so many.
pub(super) fn layer_of(config: &Config<'_>, key: &str, layers: usize, layer: i64) -> Option<usize> {
    let known = usize::try_from(layer).ok().filter(|&layer| layer < layers);
    if known.is_none() {
        config.problem(format!("`{key}` names layer {layer}, but there are {layers}"));
    }
    known
}

/// Says what cannot be built, and what of the model a recipe can say.
fn refuse(config: &Config<'_>, problem: &str, wiring: &Wiring) -> Architecture {
    let pairs: Vec<String> = wiring.iter().map(|(tap, point)| format!("[\"{tap}\", \"{point}\"]")).collect();
    config.problem(format!(
        "models of the type `{}` are not built: {problem}. A recipe of other models can inject as it does: `topology.wiring = \
         [{}]`",
        config.word("model_type", None),
        pairs.join(", ")
    ));
    Architecture::default()
}
