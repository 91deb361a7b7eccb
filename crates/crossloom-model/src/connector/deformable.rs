//! Deformable attention with its linear layers: a query on a grid reads a few points around its own cell, of several grids.

use crossloom_graph::Tensor;
use crossloom_ir::op::{DeformableAttention, Iota, Softmax};

use super::{Of, linear_from};
use crate::params::Params;
use crate::{Init, ModelError};

/// A module of that kind; its weights have the names of Deformable DETR's.
pub(super) struct Deformable<'n> {
    /// Whose weights.
    pub(super) of: Of<'n>,
    /// Heads.
    pub(super) heads: usize,
    /// Points that a head reads of one grid.
    pub(super) points: usize,
    /// Cells of a side of every grid, that of the queries too.
    pub(super) side: usize,
}

impl Deformable<'_> {
    /// What `queries [B, side², D]` read of `grids [B, L side², D]`, one grid behind the other.
    pub(super) fn attend(
        &self,
        p: &mut Params,
        queries: Tensor,
        grids: Tensor,
    ) -> Result<Tensor, ModelError> {
        let (part, prefix) = self.of;
        let &[batch, cells, width] = p.graph.shape(queries) else {
            return Err(ModelError::Incomplete(format!("the queries of `{prefix}` have no rows")));
        };
        let levels = p.graph.shape(grids)[1] / cells;
        let of_points = [batch, cells, self.heads, levels, self.points];
        let per_query = self.heads * levels * self.points;
        let xavier = [Init::Uniform { std: (width as f64).sqrt().recip() }, Init::ZEROS];
        let linear = |p: &mut Params, name: &str, out: usize, init: [Init; 2], x: Tensor| {
            linear_from(p, (part, &format!("{prefix}.{name}")), [out, width], init).apply(p, x)
        };

        // At first no query looks at its content: every head reads in its own direction, and all points count the same.
        let around = [Init::ZEROS, Init::Around { heads: self.heads, levels }];
        let offsets = linear(p, "sampling_offsets", 2 * per_query, around, queries)?;
        let offsets = p.graph.reshape(offsets, &[&of_points[..], &[2]].concat())?;
        let weights = linear(p, "attention_weights", per_query, [Init::ZEROS; 2], queries)?;
        let weights = p.graph.reshape(weights, &[batch, cells, self.heads, levels * self.points])?;
        let weights = p.graph.one(Softmax, &[weights])?;
        let weights = p.graph.reshape(weights, &of_points)?;
        let values = linear(p, "value_proj", width, xavier, grids)?;

        let locations = self.around_cells(p, offsets)?;
        let op = DeformableAttention { heads: self.heads, sides: vec![self.side; levels] };
        let read = p.graph.one(op, &[values, locations, weights])?;
        linear(p, "output_proj", width, xavier, read)
    }

    /// Places in grids that reach from 0 to 1: offsets `[B, side², .., 2]` in cells, from the centre of the query's own cell.
    fn around_cells(&self, p: &mut Params, offsets: Tensor) -> Result<Tensor, ModelError> {
        let (side, shape) = (self.side, p.graph.shape(offsets).to_vec());
        let mut centres = Vec::with_capacity(2);
        // x goes along a row, y from row to row.
        for axis in [1, 0] {
            let cell = p.graph.one(Iota { shape: vec![side, side], axis }, &[])?;
            let centre = p.graph.affine(cell, (side as f64).recip(), 0.5 / side as f64)?;
            centres.push(p.graph.reshape(centre, &[side * side, 1])?);
        }
        let centres = p.graph.concat(&centres, 1)?;
        let centres = p.graph.broadcast(centres, &shape, &[1, shape.len() - 1])?;
        let offsets = p.graph.affine(offsets, (side as f64).recip(), 0.0)?;
        Ok(p.graph.add(centres, offsets)?)
    }
}
