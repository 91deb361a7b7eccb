//! Models given back: folders that other programs read.

mod config;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crossloom_files::{create_folder_with, write_atomic};
use crossloom_recipe::{Architecture, Part};
use safetensors::tensor::{Dtype, TensorView};

use crate::layout::LAYOUTS;
use crate::{Layout, WeightsError};

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

/// What of a model is given away as a model of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The language model.
    Language,
    /// The vision encoder.
    Vision,
    /// Encoder, projector and language model, as LLaVA.
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

    /// The names that its tensors have in a file.
    fn layout(self) -> Option<&'static Layout> {
        LAYOUTS.iter().find(|layout| layout.whole == (self == Self::Whole))
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

/// Writes a model as a folder in the layout of Hugging Face: `config.json`, `model.safetensors` in f32 and, with an encoder,
/// `preprocessor_config.json`. `tensors` are all of the scope by our names; `architecture` is the model's.
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
) -> Result<(), WeightsError> {
    let refused = |problems| WeightsError::new(folder, problems);
    let config = config::of(scope, architecture, tokens, tensors).map_err(refused)?;
    let named = in_file(scope, architecture, tensors).map_err(refused)?;
    let processor = architecture.vision.as_ref().filter(|_| scope != Scope::Language).map(config::processor);
    create_folder_with(folder, |folder| {
        write_atomic(&folder.join("config.json"), &text(&config)?)?;
        if let Some(processor) = &processor {
            write_atomic(&folder.join("preprocessor_config.json"), &text(processor)?)?;
        }
        save(&folder.join("model.safetensors"), &named)
    })
    .map_err(|error| WeightsError::one(folder, error))
}

/// Writes tensors under our own names as a folder with `model.safetensors`.
///
/// # Errors
/// The folder is there already, or cannot be written. Nothing is left then.
pub fn tensors(folder: &Path, tensors: &Tensors) -> Result<(), WeightsError> {
    create_folder_with(folder, |folder| save(&folder.join("model.safetensors"), tensors))
        .map_err(|error| WeightsError::one(folder, error))
}

/// The tensors by their names in a file, with those that the family has and we never read.
fn in_file(scope: Scope, architecture: &Architecture, tensors: &Tensors) -> Result<Tensors, Vec<String>> {
    let Some(layout) = scope.layout() else { return Err(vec!["has no layout".to_owned()]) };
    let mut problems = Vec::new();
    let mut named = Tensors::new();
    for (ours, values) in tensors {
        match layout.to_file(ours) {
            Some(name) => drop(named.insert(name, values.clone())),
            None => problems.push(format!("`{ours}` has no name in the layout of {}", layout.name)),
        }
    }
    if let Some(vision) = architecture.vision.as_ref().filter(|_| scope != Scope::Language) {
        // A norm behind the last block that nothing reads: as it starts.
        for (last, value) in [("weight", 1.0), ("bias", 0.0)] {
            let ours = format!("vision_tower.vision_model.post_layernorm.{last}");
            if let (false, Some(name)) = (tensors.contains_key(&ours), layout.to_file(&ours)) {
                let values = vec![value; vision.hidden];
                named.insert(name, Values { shape: vec![vision.hidden], values });
            }
        }
    }
    if problems.is_empty() { Ok(named) } else { Err(problems) }
}

pub(crate) fn text(value: &serde_json::Value) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    Ok(text)
}

/// Writes a safetensors file.
pub(crate) fn save(path: &Path, tensors: &Tensors) -> io::Result<()> {
    let bytes: Vec<Vec<u8>> = tensors
        .values()
        .map(|tensor| tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect())
        .collect();
    let mut views = Vec::with_capacity(tensors.len());
    for ((name, tensor), bytes) in tensors.iter().zip(&bytes) {
        let view = TensorView::new(Dtype::F32, tensor.shape.clone(), bytes).map_err(io::Error::other)?;
        views.push((name.as_str(), view));
    }
    // Readers ask for this key. It is the only one: the order of several would be another in every file.
    let metadata = std::collections::HashMap::from([("format".to_owned(), "pt".to_owned())]);
    write_atomic(path, &safetensors::serialize(views, Some(metadata)).map_err(io::Error::other)?)
}

#[cfg(test)]
mod tests;
