//! What holds of any bytes whatever, where a file or a configuration is expected.
//!
//! Every function gives them to a reader, which may refuse them, and says whether what the reader believed is sound. The tests
//! here try mutations of whole files; `fuzz/` has a target for each function.

use std::collections::BTreeSet;
use std::path::Path;

use crossloom_data::image::{ImageError, PixelSettings};
use crossloom_ir::TensorType;
use crossloom_runtime::{Header, safetensors_header};
use serde_json::{Map, Value};

use crate::format::{gguf, onnx};
use crate::layout::{Dims, all};
use crate::peft::{Base, Settings, Tower, scope_of, to_linears};
use crate::shards::{Index, is_plain};
use crate::{family, values};

/// Most elements of a tensor whose values are looked at.
const LOOKED_AT: usize = 1 << 16;

/// A function of this module.
pub type Sound = fn(&[u8]) -> bool;

/// All of them, by the names of their targets.
pub const ALL: [(&str, Sound); 7] = [
    ("safetensors", safetensors),
    ("index", index),
    ("gguf", gguf),
    ("onnx", onnx),
    ("configuration", configuration),
    ("adapter", adapter),
    ("layouts", layouts),
];

/// Every tensor that fits lies within the file, and its values can be read.
fn readable(bytes: &[u8], header: &Header) -> bool {
    header.values().filter(|located| located.fits(bytes.len())).all(|located| {
        let Some(data) = bytes.get(located.range.clone()) else { return false };
        let Some(ty) = located.ty() else { return true };
        if ty.elements() <= LOOKED_AT {
            let finite = values::first_non_finite(ty.dtype, data).is_none();
            let read = values::to_f32(ty.dtype, data);
            return read.map_or(true, |read| {
                read.len() == ty.elements() && finite == read.iter().all(|value| value.is_finite())
            });
        }
        data.len() == ty.bytes()
    })
}

/// The header of a safetensors file.
pub fn safetensors(bytes: &[u8]) -> bool {
    safetensors_header(bytes).map_or(true, |header| readable(bytes, &header))
}

/// The index of several safetensors files: a name that is taken for a file of the folder is one, and leads nowhere else.
pub fn index(bytes: &[u8]) -> bool {
    let Ok(Index { weight_map }) = serde_json::from_slice(bytes) else { return true };
    let folder = Path::new("folder");
    weight_map.values().filter(|name| is_plain(name)).all(|name| folder.join(name).parent() == Some(folder))
}

/// The header of a GGUF file, and the model that it says it is.
pub fn gguf(bytes: &[u8]) -> bool {
    gguf::header(bytes).map_or(true, |(header, metadata)| {
        // Whatever it says; only that something is said.
        let told = family::of_gguf(&metadata, false).map_or_else(|problems| !problems.is_empty(), |_| true);
        told && readable(bytes, &header)
    })
}

/// The graph of an ONNX file, and the encoder that its tensors are.
pub fn onnx(bytes: &[u8]) -> bool {
    onnx::header(bytes).map_or(true, |header| {
        let told = family::of_onnx(&header).map_or_else(|problems| !problems.is_empty(), |_| true);
        told && readable(bytes, &header)
    })
}

fn table(bytes: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice(bytes).ok()
}

/// A `config.json`, and a `preprocessor_config.json`: a model that is read has dimensions above 0, one that is not has reasons.
pub fn configuration(bytes: &[u8]) -> bool {
    let Some(values) = table(bytes) else { return true };
    let processed = match PixelSettings::read(&values) {
        Err(ImageError::Processor { problems }) => !problems.is_empty(),
        _ => true,
    };
    let read = family::architecture(&values).map_or_else(
        |problems| !problems.is_empty(),
        |read| {
            let vision = read.vision.is_none_or(|vision| vision.hidden > 0 && vision.patch_size > 0);
            let text = read.text_encoder.is_none_or(|mut text| {
                let table = || Some(values.clone());
                let beside = family::Sentences { modules: None, pooling: table(), limits: table() };
                let told = beside.complete(&mut text).map_or_else(|problems| !problems.is_empty(), |()| true);
                told && (1..=text.max_positions).contains(&text.max_tokens)
            });
            vision
                && text
                && read.language.is_none_or(|language| language.hidden > 0 && language.head_dim > 0)
        },
    );
    processed && read
}

/// An `adapter_config.json`: ranks are above 0 and factors finite for any module; and a module's name, which leads there and back.
pub fn adapter(bytes: &[u8]) -> bool {
    let Some(values) = table(bytes) else { return true };
    let modules = values.get("target_modules").and_then(Value::as_array);
    let modules: BTreeSet<String> =
        modules.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    let dims = Dims::default();
    let named = scope_of(&modules, &dims).is_none_or(|scope| {
        // A part of a module is none.
        let linears = modules.iter().map(|module| to_linears(scope, module, &dims));
        linears.filter(|linears| linears.len() == 1).all(|linears| {
            // An encoder of any kind.
            [Tower::Clip, Tower::Dinov2, Tower::Qwen3Vl].into_iter().any(|tower| {
                let module = Base { scope, tower, path: None }.module(&linears[0]);
                module.is_some_and(|module| to_linears(scope, &module, &dims) == linears)
            })
        })
    });
    let settings = Settings::of(&values).map_or_else(
        |problems| !problems.is_empty(),
        |settings| {
            modules.iter().all(|module| {
                let rank = settings.rank_of(module);
                rank > 0 && settings.alpha_of(module, rank).is_finite()
            })
        },
    );
    named && settings
}

/// The name of a tensor, behind eight bytes that say types and shapes: a row that knows the name knows the way back, and what its
/// operators make of a shape has as many bytes.
pub fn layouts(bytes: &[u8]) -> bool {
    let Some((shape, name)) = bytes.split_first_chunk::<8>() else { return true };
    let Ok(name) = std::str::from_utf8(name) else { return true };
    let [rank, dtype, head, heads, extents @ ..] = shape.map(usize::from);
    // A model that injects two of its blocks, one of them by corners.
    let (adapters, corners) = (vec!["block.3".to_owned()], vec!["layer.0.block.5".to_owned()]);
    let kv_heads = heads / 2;
    let dims = Dims { head, heads, kv_heads, patch: 2, channels: 3, tied: rank > 127, adapters, corners };
    let shape: Vec<usize> = extents.iter().take(rank % 5).map(|extent| extent * 32).collect();
    let ty = TensorType::new(values::FLOATS_AND_BLOCKS[dtype % values::FLOATS_AND_BLOCKS.len()], shape);
    all().all(|layout| {
        let Some(found) = layout.of_file(name, &dims) else { return true };
        let back = found.ours.iter().all(|ours| layout.of_ours(ours, &dims).as_ref() == Some(&found));
        let given = vec![ty.clone(); found.file.len()];
        let made = found.types(&given, &dims).map_or(true, |made| {
            // A tensor that another one stands for is none of ours.
            found.ours.is_empty() || bytes_of(&made) == bytes_of(&given)
        });
        back && made
    })
}

fn bytes_of(types: &[TensorType]) -> usize {
    types.iter().map(TensorType::bytes).sum()
}

#[cfg(test)]
mod tests;
