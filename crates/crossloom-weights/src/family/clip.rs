//! CLIP's vision transformer: a class token, a norm before the first block, no bias in the patch embedding.

use super::Architecture;
use super::vit::{self, Defaults};
use crate::config::Config;

/// The statistics are those of the pictures that CLIP was trained on.
const CLIP: Defaults = Defaults {
    patch_size: 32,
    activation: "quick_gelu",
    norm_eps: 1e-5,
    class_token: true,
    image_mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
    image_std: [0.268_629_54, 0.261_302_58, 0.275_777_11],
};

/// Both towers, of which the vision tower is read.
pub(super) fn whole(config: &Config<'_>) -> Architecture {
    vit::beside_text(config, &CLIP)
}

/// The vision tower.
pub(super) fn tower(config: &Config<'_>) -> Architecture {
    vit::tower(config, &CLIP)
}
