//! What queries and keys are turned by.

use crossloom_graph::Tensor;
use crossloom_ir::op::{Iota, ScatterMode, ScatterRows, ToFloat, ToInt};
use crossloom_recipe::Model;

use crate::ModelError;
use crate::params::Params;

/// The rotary positions `[B, T]` of a batch as the decoder's `rope` reads them: as they are, or time, row and column `[B, T, 3]`,
/// which differ at the visual tokens, whose places are `image_index [B, N]`.
///
/// All tokens of a picture have one position in the batch, and rows and columns are counted from there.
pub(crate) fn turned_by(
    p: &mut Params,
    positions: Tensor,
    image_index: Option<Tensor>,
    model: &Model,
) -> Result<Tensor, ModelError> {
    if model.language.rope_sections.is_none() {
        return Ok(positions);
    }
    p.enter("language.positions");
    let [batch, tokens] = [p.graph.shape(positions)[0], p.graph.shape(positions)[1]];
    let own = p.graph.one(ToFloat, &[positions])?;
    let mut all = p.graph.broadcast(own, &[batch, tokens, 3], &[0, 1])?;
    if let Some(image_index) = image_index {
        let grid = model.visual_grid();
        let time = p.graph.constant(0.0, &[batch, grid, grid, 1])?;
        let [row, column] =
            [1, 2].map(|axis| p.graph.one(Iota { shape: vec![batch, grid, grid, 1], axis }, &[]));
        let offsets = p.graph.concat(&[time, row?, column?], 3)?;
        let offsets = p.graph.reshape(offsets, &[batch, grid * grid, 3])?;
        all = p.graph.one(ScatterRows { mode: ScatterMode::Add }, &[all, image_index, offsets])?;
    }
    let all = p.graph.one(ToInt, &[all])?;
    p.leave();
    Ok(all)
}
