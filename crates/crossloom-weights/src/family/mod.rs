//! Families: from a `config.json` to dimensions. Each is one file; a new one is a new file and a line of `read`.

mod bert;
mod clip;
mod decoder;
mod dinov2;
mod gguf;
mod granite;
mod llava;
mod qwen3_vl;
mod siglip;
mod vit;

use std::cell::RefCell;

pub use bert::Sentences;
pub use crossloom_recipe::Architecture;
use crossloom_recipe::{MlpActivation, PointAddress, VisionAddress};
use crossloom_runtime::Header;
use serde_json::{Map, Value};

use crate::config::Config;

/// Which vision states a model adds to which layers of its decoder, as a recipe's `topology.wiring` lists them.
type Wiring = Vec<(VisionAddress, PointAddress)>;

/// What reads the configuration of one `model_type`.
type Read = fn(&Config<'_>) -> Architecture;

/// All that can be read, by `model_type`.
const FAMILIES: &[(&str, Read)] = &[
    ("bert", bert::encoder),
    ("clip", clip::whole),
    ("clip_vision_model", clip::tower),
    ("dinov2", dinov2::tower),
    ("granite", decoder::granite),
    ("granite4_vision", granite::whole),
    ("granite4_vision_text", decoder::granite),
    ("llama", decoder::llama),
    ("llava", llava::llava),
    ("llava_onevision", llava::onevision),
    ("qwen2", decoder::qwen2),
    ("qwen3", decoder::qwen3),
    ("qwen3_vl", qwen3_vl::whole),
    ("qwen3_vl_text", decoder::qwen3_vl_text),
    ("siglip", siglip::whole),
    ("siglip_vision_model", siglip::tower),
];

/// Reads the configuration of any family that is known.
///
/// # Errors
/// Everything that is wrong with it: a family that is not known, keys that are missing or of another type, settings that
/// change what is computed in a way that is not built.
pub fn architecture(values: &Map<String, Value>) -> Result<Architecture, Vec<String>> {
    let problems = RefCell::new(Vec::new());
    let read = read(&Config::new(values, &problems));
    let problems = problems.into_inner();
    if problems.is_empty() { Ok(read) } else { Err(problems) }
}

/// The dimensions of an encoder that was exported to ONNX, see `dinov2`: a graph has no configuration, but shapes.
pub(crate) fn of_onnx(header: &Header) -> Result<Architecture, Vec<String>> {
    dinov2::exported(&|name| header.get(name).map(|located| located.shape.as_slice()))
        .map_err(|problem| vec![problem])
}

/// Reads the metadata of a GGUF file, see `gguf`.
pub(crate) fn of_gguf(metadata: &Map<String, Value>, has_head: bool) -> Result<Architecture, Vec<String>> {
    let problems = RefCell::new(Vec::new());
    let read = gguf::language(&Config::new(metadata, &problems), has_head);
    let problems = problems.into_inner();
    if problems.is_empty() { Ok(read) } else { Err(problems) }
}

fn read(config: &Config<'_>) -> Architecture {
    let name = config.word("model_type", None);
    match FAMILIES.iter().find(|(known, _)| *known == name) {
        Some((_, read)) => read(config),
        None => {
            if !name.is_empty() {
                let known: Vec<&str> = FAMILIES.iter().map(|(known, _)| *known).collect();
                config
                    .problem(format!("the model type `{name}` is not known; known are {}", known.join(", ")));
            }
            Architecture::default()
        }
    }
}

/// A layer's number, which must be one of so many.
fn layer_of(config: &Config<'_>, key: &str, layers: usize, layer: i64) -> Option<usize> {
    let known = usize::try_from(layer).ok().filter(|&layer| layer < layers);
    if known.is_none() {
        config.problem(format!("`{key}` names layer {layer}, but there are {layers}"));
    }
    known
}

/// An activation by the name that configurations have for it.
fn activation(config: &Config<'_>, key: &str, default: &'static str) -> MlpActivation {
    match config.word(key, Some(default)) {
        "gelu" => MlpActivation::GeluErf,
        "gelu_pytorch_tanh" | "gelu_new" => MlpActivation::GeluTanh,
        "quick_gelu" => MlpActivation::QuickGelu,
        other => {
            config.problem(format!(
                "`{key}` is \"{other}\"; gelu, gelu_pytorch_tanh and quick_gelu are supported"
            ));
            MlpActivation::GeluErf
        }
    }
}

#[cfg(test)]
mod tests;
