//! Pretrained weights that a recipe starts from, and what such weights say of their model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Adapter, LanguageModel, Lora, Part, PointAddress, Projector, TextEncoder, VisionAddress, VisionModel,
};

/// Weights that a part of the model starts from. A bare string is the `path`.
///
/// Every dimension is then read from the model itself. Dimensions that an earlier layer of the recipe wrote give way;
/// one that is written beside the weights, or later, must be the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PretrainedWeights {
    /// A folder as Hugging Face or PEFT lays it out (configuration and safetensors), or a file. A relative path starts at the
    /// recipe's folder and stays in it. Or `asset:NAME`, a package that `crossloom data get NAME` has fetched. Where the weights lie is no part of an experiment's identity once `hash` is known.
    pub path: String,
    /// BLAKE3 of what lies there, 64 hexadecimal digits. A recipe may insist on it; a run's folder always has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
    pub hash: Option<String>,
    /// Tensors of the model that the weights may lack, by name; they start as in a model without weights. `*` stands for any
    /// letters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// Tensors that the weights may hold although the model has none of that name, which are left out. `*` stands for any
    /// letters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unexpected: Vec<String>,
}

impl PretrainedWeights {
    /// What the path of a fetched package begins with.
    pub const ASSET: &str = "asset:";

    /// Where a path of a recipe in that folder leads; that of a package is what it is anywhere.
    pub fn place(folder: &Path, path: &str) -> PathBuf {
        if path.starts_with(Self::ASSET) { PathBuf::from(path) } else { folder.join(path) }
    }
}

/// What a pretrained model, or an adapter, says of itself. A part that it does not have is none.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Architecture {
    /// The vision encoder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vision: Option<VisionModel>,
    /// What joins the two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub projector: Option<Projector>,
    /// The language model. Its `vocab_size` is what the configuration says; files may hold more rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<LanguageModel>,
    /// A sentence encoder, which is of no other model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_encoder: Option<TextEncoder>,
    /// Width of the vectors of a file that holds one for every question.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vectors: Option<usize>,
    /// The states of the encoder that the model itself reads: addresses for `topology.input`.
    #[serde(skip)]
    pub taps: Vec<VisionAddress>,
    /// The states that the model itself adds to layers of its decoder, and where: `topology.wiring`.
    #[serde(skip)]
    pub wiring: Vec<(VisionAddress, PointAddress)>,
    /// What it makes of them before: `topology.adapter`.
    #[serde(skip)]
    pub adapter: Option<Adapter>,
    /// Of an adapter, which is of no model by itself: its low-rank pairs, by the part whose layers they stand beside.
    #[serde(skip)]
    pub pairs: BTreeMap<Part, Lora>,
}
