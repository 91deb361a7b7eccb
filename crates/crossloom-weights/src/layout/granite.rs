//! The names of Granite 4.1 Vision: projectors that are numbered as the edges they belong to, those of corners apart.

use super::{EMBEDDINGS, Layout, Operator, Row};

/// Its projectors, which have these names whatever the encoder's are.
pub(super) const PROJECTORS: [Row; 4] = [
    (&["model.layerwise_projectors.{adapter}.norm.*"], &["injection.adapter.{adapter}.norm.*"], &[]),
    (&["model.layerwise_projectors.{adapter}.*"], &["injection.adapter.{adapter}.projector.*"], &[]),
    (&["model.spatial_projectors.{corner}.norm.*"], &["injection.adapter.{corner}.norm.*"], &[]),
    (&["model.spatial_projectors.{corner}.*"], &["injection.adapter.{corner}.projector.*"], &[]),
];

pub(super) const GRANITE_VISION: Layout = Layout {
    name: "Granite Vision",
    whole: true,
    rows: &[
        (&["model.vision_tower.*"], &["vision_tower.vision_model.*"], &[]),
        PROJECTORS[0],
        PROJECTORS[1],
        PROJECTORS[2],
        PROJECTORS[3],
        (&["model.image_newline"], &["image_newline"], &[]),
        (&["model.language_model.embed_tokens.weight", "lm_head.weight"], EMBEDDINGS, &[Operator::Tie]),
        (&["model.language_model.*"], &["language_model.model.*"], &[]),
    ],
};
