//! How a picture of any shape becomes a square.

use serde::{Deserialize, Serialize};

/// How a picture of any shape becomes the square that an encoder reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fit {
    /// Resized to it, whatever its shape: all is seen, and out of proportion (SigLIP).
    #[default]
    Stretch,
    /// Laid on a square of the mean colour, then resized: all is seen, in proportion (LLaVA-1.5).
    Pad,
    /// Resized in proportion, then cut about its middle: what lies beyond is not seen (CLIP, DINOv2).
    Crop {
        /// Pixels of the shorter side before the cut.
        edge: u32,
    },
}
