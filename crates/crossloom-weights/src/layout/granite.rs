//! The names of Granite 4.1 Vision: projectors that are numbered as the edges they belong to, those of corners apart.

use super::{INNER_REST, Layout, Row};

/// Its projectors, which have these names whatever the encoder's are.
pub(super) const PROJECTORS: &[Row] = &[
    (&["model.layerwise_projectors.{adapter}.norm.*"], &["injection.adapter.{adapter}.norm.*"], &[]),
    (&["model.layerwise_projectors.{adapter}.*"], &["injection.adapter.{adapter}.projector.*"], &[]),
    (&["model.spatial_projectors.{corner}.norm.*"], &["injection.adapter.{corner}.norm.*"], &[]),
    (&["model.spatial_projectors.{corner}.*"], &["injection.adapter.{corner}.projector.*"], &[]),
];

pub(crate) const GRANITE_VISION: Layout = Layout {
    name: "Granite Vision",
    whole: true,
    dinov2: false,
    rows: &[&[(&["model.vision_tower.*"], &["vision_tower.vision_model.*"], &[])], PROJECTORS, INNER_REST],
};
