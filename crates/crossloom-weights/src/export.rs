//! Models given back: folders that other programs read.

mod config;
mod whole;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crossloom_files::{create_folder_with, write_atomic};
use crossloom_ir::{DType, TensorType};
use crossloom_recipe::{Architecture, KeptIn, Part};
use safetensors::tensor::{Dtype, TensorView};

use crate::layout::{DINOV2, Dims, PART, Tensor};
use crate::shards::table;
use crate::values::{converted, to_f32};
use crate::{Layout, Pretrained, WeightsError, peft};
use whole::Kind;

const CONFIG: &str = "config.json";
const PROCESSOR: &str = "preprocessor_config.json";
const MODEL: &str = "model.safetensors";

/// A tensor in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Values {
    /// Its extents.
    pub shape: Vec<usize>,
    /// Its elements, row-major.
    pub values: Vec<f32>,
}

/// Tensors by our names.
pub type Tensors = BTreeMap<String, Values>;

/// The type in which a tensor is written, by how a model is to be kept and by the type that the tensor's own file has, if there is
/// one. Of a file's types, quantized ones become `f32`, which holds all their numbers.
pub fn written_in(kept: KeptIn, in_file: Option<DType>) -> DType {
    match (kept, in_file) {
        (KeptIn::Bf16, _) => DType::Bf16,
        (KeptIn::File, Some(dtype @ (DType::Bf16 | DType::F16))) => dtype,
        (KeptIn::F32 | KeptIn::File, _) => DType::F32,
    }
}

/// What of a model is given away as a model of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The language model.
    Language,
    /// The vision encoder.
    Vision,
    /// Encoder, projector and language model, and what the model injects by itself: as LLaVA, Qwen3-VL or Granite Vision.
    Whole,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Language, Self::Vision, Self::Whole];

    /// The name it has on a command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Language => "language",
            Self::Vision => "vision",
            Self::Whole => "whole",
        }
    }

    /// Whether a tensor of a part belongs to it.
    pub fn holds(self, part: Part) -> bool {
        match self {
            Self::Language => part == Part::Language,
            Self::Vision => part == Part::Vision,
            Self::Whole => matches!(part, Part::Vision | Part::Projector | Part::Language),
        }
    }

    /// How the folders that are written of it name tensors.
    fn layout(self, architecture: &Architecture) -> Option<&'static Layout> {
        let vision = architecture.vision.as_ref();
        match self {
            Self::Vision if vision?.layer_scale => Some(&DINOV2),
            Self::Language | Self::Vision => Some(&PART),
            Self::Whole => Some(Kind::of(architecture).layout(vision?)),
        }
    }
}

/// Ids of tokens that a configuration names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenIds {
    /// Ends an answer.
    pub eos: u32,
    /// Fills positions that are not used.
    pub pad: u32,
    /// Stands at the positions of visual tokens.
    pub image: u32,
}

/// Files that lie beside the weights, by their names.
pub type Beside = Vec<(&'static str, Vec<u8>)>;

fn write_beside(folder: &Path, beside: &Beside) -> io::Result<()> {
    beside.iter().try_for_each(|(name, bytes)| write_atomic(&folder.join(name), bytes))
}

/// Writes a model as a folder in the layout of Hugging Face: `config.json`, `model.safetensors`, with an encoder
/// `preprocessor_config.json`, and what else lies `beside` them. `tensors` are all of the scope by our names, each of which is written in the type that `type_of`
/// says, see [`written_in`]; `architecture` is the model's.
///
/// # Errors
/// A model that no family of Hugging Face computes, with every reason; a tensor without a name there; the folder is there
/// already, or cannot be written. Nothing is left then.
pub fn model(
    folder: &Path,
    scope: Scope,
    architecture: &Architecture,
    tokens: TokenIds,
    tensors: &Tensors,
    type_of: &dyn Fn(&str) -> DType,
    beside: &Beside,
) -> Result<(), WeightsError> {
    let refused = |problems| WeightsError::new(folder, problems);
    let mut config = config::of(scope, architecture, tokens, tensors).map_err(refused)?;
    let Some(layout) = scope.layout(architecture) else {
        return Err(refused(vec!["has no vision encoder".to_owned()]));
    };
    let named = in_file(layout, scope, architecture, tensors, type_of).map_err(refused)?;
    config["dtype"] = loaded_in(&named).into();
    let processor = match scope {
        Scope::Language => None,
        Scope::Vision => architecture.vision.as_ref().map(config::processor),
        Scope::Whole => Kind::of(architecture).processor(architecture),
    };
    create_folder_with(folder, |folder| {
        write_atomic(&folder.join(CONFIG), &text(&config)?)?;
        if let Some(processor) = &processor {
            write_atomic(&folder.join(PROCESSOR), &text(processor)?)?;
        }
        write_beside(folder, beside)?;
        save(&folder.join(MODEL), &named)
    })
    .map_err(|error| WeightsError::one(folder, error))
}

/// Writes a base with an adapter in PEFT's form merged into its weights as a folder like the base's. Says how many layers the
/// adapter changed. Sums are rounded once, to the type that is written.
///
/// # Errors
/// An adapter of another base, or one that cannot be read; a base with tensors that would be lost; the folder is there already, or
/// cannot be written. Nothing is left then.
pub fn merged(folder: &Path, base: &Pretrained, adapter: &Path, kept: KeptIn) -> Result<usize, WeightsError> {
    let lost = |name: &&String| !name.ends_with(".position_ids") && !name.ends_with(".inv_freq");
    if let Some(name) = base.left_out().iter().find(lost) {
        let problem = format!("holds `{name}` and more that is read by no model of ours, and would be lost");
        return Err(WeightsError::one(base.path(), problem));
    }
    let architecture = base.architecture();
    let scope = match (&architecture.vision, &architecture.language) {
        (Some(_), Some(_)) => Scope::Whole,
        (Some(_), None) => Scope::Vision,
        (None, _) => Scope::Language,
    };
    let pairs =
        peft::read(adapter, scope, &Dims::of(architecture), |name| base.shape(name).map(<[usize]>::to_vec))?;
    let mut tensors = Tensors::new();
    for name in base.names() {
        let failed = |problem: String| WeightsError::one(base.path(), problem);
        let (ty, bytes) = base.tensor(name).map_err(|error| failed(error.to_string()))?;
        let values = to_f32(ty.dtype, bytes.as_ref()).map_err(|e| failed(format!("`{name}` {e}")))?;
        tensors.insert(name.to_owned(), Values { shape: ty.shape.clone(), values });
    }
    for pair in &pairs {
        if let Some(weight) = tensors.get_mut(&format!("{}.weight", pair.linear)) {
            pair.merge(weight).map_err(|problem| WeightsError::one(adapter, problem))?;
        }
    }
    let type_of = |name: &str| written_in(kept, base.dtype(name));
    let named = in_file(base.layout(), scope, architecture, &tensors, &type_of)
        .map_err(|problems| WeightsError::new(folder, problems))?;
    let mut config = table(&base.path().join(CONFIG))?;
    config.remove("torch_dtype");
    config.insert("dtype".to_owned(), loaded_in(&named).into());
    create_folder_with(folder, |folder| {
        write_atomic(&folder.join(CONFIG), &text(&config.into())?)?;
        let processor = base.path().join(PROCESSOR);
        if processor.exists() {
            write_atomic(&folder.join(PROCESSOR), &std::fs::read(processor)?)?;
        }
        save(&folder.join(MODEL), &named)
    })
    .map_err(|error| WeightsError::one(folder, error))?;
    Ok(pairs.len())
}

/// Writes tensors under our own names as a folder with `model.safetensors`, each in the type that `type_of` says, and what else lies
/// `beside` it.
///
/// # Errors
/// A type that is no float's; the folder is there already, or cannot be written. Nothing is left then.
pub fn tensors(
    folder: &Path,
    tensors: &Tensors,
    type_of: &dyn Fn(&str) -> DType,
    beside: &Beside,
) -> Result<(), WeightsError> {
    let written = |(name, values): (&String, &Values)| {
        let tensor = tensor(values, type_of(name)).map_err(|problem| format!("`{name}`: {problem}"))?;
        Ok((name.clone(), tensor))
    };
    let named = tensors.iter().map(written).collect::<Result<InFile<'_>, String>>();
    let named = named.map_err(|problem| WeightsError::one(folder, problem))?;
    create_folder_with(folder, |folder| {
        write_beside(folder, beside)?;
        save(&folder.join(MODEL), &named)
    })
    .map_err(|error| WeightsError::one(folder, error))
}

/// Tensors as a file has them, by their names there.
pub(crate) type InFile<'t> = BTreeMap<String, Tensor<'t>>;

/// Tensors that the family of a scope has and no model here reads, as they start in a model without weights, by our names: the
/// norm behind an encoder's last block, and the token that ends rows of tiles.
pub fn unread(scope: Scope, architecture: &Architecture) -> Tensors {
    let mut unread = Tensors::new();
    let (Some(layout), dims) = (scope.layout(architecture), Dims::of(architecture)) else { return unread };
    let mut add = |name: String, width: usize, value: f32| {
        if layout.of_ours(&name, &dims).is_some() {
            unread.insert(name, Values { shape: vec![width], values: vec![value; width] });
        }
    };
    if let Some(vision) = architecture.vision.as_ref().filter(|_| scope != Scope::Language) {
        for (last, value) in [("weight", 1.0), ("bias", 0.0)] {
            add(format!("vision_tower.vision_model.post_layernorm.{last}"), vision.hidden, value);
        }
    }
    let language = architecture.language.as_ref().filter(|_| scope == Scope::Whole);
    if let Some(language) = language.filter(|_| Kind::of(architecture).has_newline()) {
        add("image_newline".to_owned(), language.hidden, 0.0);
    }
    unread
}

/// The tensors as the files of a layout have them, with those that the family has and we never read.
fn in_file(
    layout: &Layout,
    scope: Scope,
    architecture: &Architecture,
    tensors: &Tensors,
    type_of: &dyn Fn(&str) -> DType,
) -> Result<InFile<'static>, Vec<String>> {
    let dims = Dims::of(architecture);
    let unnamed = tensors.keys().filter(|name| layout.of_ours(name, &dims).is_none());
    let unnamed = unnamed.map(|name| format!("`{name}` has no name in the layout of {}", layout.name));
    let unnamed: Vec<String> = unnamed.collect();
    if !unnamed.is_empty() {
        return Err(unnamed);
    }
    let mut ours = unread(scope, architecture);
    ours.extend(tensors.iter().map(|(name, values)| (name.clone(), values.clone())));
    let mut written = InFile::new();
    for name in ours.keys() {
        let Some(row) = layout.of_ours(name, &dims) else { continue };
        if !row.file.iter().all(|file| written.contains_key(file)) {
            let failed = |problem: String| vec![format!("`{name}`: {problem}")];
            let parts = row.ours.iter().filter_map(|name| Some((name, ours.get(name)?)));
            let parts = parts.map(|(name, values)| tensor(values, type_of(name)));
            let parts = parts.collect::<Result<Vec<_>, _>>().map_err(failed)?;
            let saved = row.save(parts, &dims).map_err(failed)?;
            written.extend(row.file.into_iter().zip(saved));
        }
    }
    Ok(written)
}

/// Values as they are, in f32.
pub(crate) fn as_they_are(tensors: &Tensors) -> InFile<'static> {
    let named = tensors.iter().map(|(name, values)| (name.clone(), values.in_f32()));
    named.collect()
}

impl Values {
    fn in_f32(&self) -> Tensor<'static> {
        let bytes: Vec<u8> = self.values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Tensor { ty: TensorType::f32(&self.shape[..]), bytes: bytes.into() }
    }
}

/// Values in a float type, rounded to nearest even.
fn tensor(values: &Values, dtype: DType) -> Result<Tensor<'static>, String> {
    let Tensor { ty, bytes } = values.in_f32();
    let bytes = if dtype == DType::F32 { bytes } else { converted(DType::F32, &bytes, dtype)?.into() };
    Ok(Tensor { ty: ty.with_dtype(dtype), bytes })
}

/// The type in which transformers loads all of a folder's tensors: theirs, or where they have several the one that holds all.
fn loaded_in(tensors: &InFile<'_>) -> &'static str {
    let mut types = tensors.values().map(|tensor| tensor.ty.dtype);
    let first = types.next();
    match first.filter(|first| types.all(|other| other == *first)) {
        Some(DType::Bf16) => "bfloat16",
        Some(DType::F16) => "float16",
        _ => "float32",
    }
}

pub(crate) fn text(value: &serde_json::Value) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    Ok(text)
}

/// Writes a safetensors file.
pub(crate) fn save(path: &Path, tensors: &InFile<'_>) -> io::Result<()> {
    let mut views = Vec::with_capacity(tensors.len());
    for (name, Tensor { ty, bytes }) in tensors {
        let dtype = match ty.dtype {
            DType::F32 => Dtype::F32,
            DType::Bf16 => Dtype::BF16,
            DType::F16 => Dtype::F16,
            other => return Err(io::Error::other(format!("`{name}` is {other}, which is no float"))),
        };
        let view = TensorView::new(dtype, ty.shape.clone(), bytes).map_err(io::Error::other)?;
        views.push((name.as_str(), view));
    }
    // Readers ask for this key. It is the only one: the order of several would be another in every file.
    let metadata = std::collections::HashMap::from([("format".to_owned(), "pt".to_owned())]);
    write_atomic(path, &safetensors::serialize(views, Some(metadata)).map_err(io::Error::other)?)
}

#[cfg(test)]
mod tests;
