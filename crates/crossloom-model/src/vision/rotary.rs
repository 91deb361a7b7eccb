//! Rotary positions of patches: a half of every head is turned by the patch's row, the other half by its column.
//!
//! In every head the pairs are `(i, i + head_dim / 2)`, and the first half of them are the row's. Scores do not depend on the order
//! of a head's columns, if queries and keys have the same: so the columns of each half are brought together and turned as those of a
//! head of half the width, and stay there.

use crossloom_graph::Tensor;
use crossloom_ir::op::{Iota, Rope, ToInt};
use crossloom_recipe::VisionModel;

use crate::ModelError;
use crate::params::Params;

/// Rows and columns of all patches, `[B, N]` each.
#[derive(Clone, Copy)]
pub(super) struct Turns {
    places: [Tensor; 2],
    theta: f64,
}

impl Turns {
    /// Those of an encoder's patches, if it has any.
    pub(super) fn of(p: &mut Params, batch: usize, model: &VisionModel) -> Result<Option<Self>, ModelError> {
        let Some(theta) = model.rope_theta else { return Ok(None) };
        let grid = model.grid();
        p.enter("rotary");
        let mut place = |axis: usize| -> Result<Tensor, ModelError> {
            let places = p.graph.one(Iota { shape: vec![batch, grid, grid], axis }, &[])?;
            let places = p.graph.reshape(places, &[batch, grid * grid])?;
            Ok(p.graph.one(ToInt, &[places])?)
        };
        let places = [place(1)?, place(2)?];
        p.leave();
        Ok(Some(Self { places, theta }))
    }

    /// Queries or keys `[B, N, heads head_dim]`, turned, and the columns of every head in the order of this module.
    pub(super) fn turn(self, p: &mut Params, x: Tensor, model: &VisionModel) -> Result<Tensor, ModelError> {
        let shape = p.graph.shape(x).to_vec();
        let [batch, tokens, width] = [shape[0], shape[1], shape[2]];
        let half = model.head_dim() / 2;
        let x = p.graph.reshape(x, &[batch, tokens, model.heads, 2, 2, half / 2])?;
        let x = p.graph.transpose(x, &[4, 0, 1, 2, 3, 5])?;
        let rope = Rope { head_dim: half, theta: self.theta, inverse: false, sections: None };
        let mut halves = Vec::with_capacity(2);
        for (axis, places) in self.places.into_iter().enumerate() {
            let own = p.graph.slice(x, 0, axis, 1)?;
            let own = p.graph.reshape(own, &[batch, tokens, width / 2])?;
            let own = p.graph.one(rope, &[own, places])?;
            halves.push(p.graph.reshape(own, &[batch, tokens, model.heads, half])?);
        }
        let x = p.graph.concat(&halves, 3)?;
        Ok(p.graph.reshape(x, &shape)?)
    }
}
