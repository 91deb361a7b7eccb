//! Files of conversations, and how they are mixed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RowFormat;

/// Files of samples of one form, and the folder of their pictures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Samples {
    /// What a row of the files looks like.
    pub format: RowFormat,
    /// The files. Relative paths start at the recipe's folder and stay inside it.
    #[schemars(length(min = 1))]
    pub files: Vec<String>,
    /// The folder at which the paths of pictures in rows start, and which they do not leave.
    #[schemars(extend("default" = "."))]
    pub pictures: String,
    /// How often a sample is drawn of these files, relative to the others that are trained on. Absent: the number of their samples, so that
    /// all samples of such files are drawn as often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0.0, "maximum" = 1e9))]
    pub weight: Option<f64>,
    /// BLAKE3 of the files, 64 hexadecimal digits. A recipe may insist on it; a run's folder always has it. Where files and pictures lie
    /// is no part of an experiment's identity once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
    pub hash: Option<String>,
}

impl Samples {
    /// The paths that it names, in their order.
    pub(super) fn paths_mut(&mut self) -> impl Iterator<Item = &mut String> {
        self.files.iter_mut().chain([&mut self.pictures])
    }
}
