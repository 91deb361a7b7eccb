//! Position embeddings on a grid of their own, resampled to that of the image.
//!
//! The parameter stays on the grid that its file has, so that it is read, trained and given back in one shape whatever the
//! size of the pictures. What the encoder adds is that parameter times a matrix per axis. The matrices depend on the two
//! sizes only and are made in the graph of counting and arithmetic: there is nothing to store, and the gradient is that of
//! two products.
//!
//! As in DINOv2: Keys' cubic with a = -3/4 over four samples, pixels taken at their centres, samples beyond the border equal
//! to those on it, no widening where the grid shrinks. Or as in Qwen3-VL: a triangle over two samples, the corners of both grids
//! laid over each other.

use crossloom_graph::Tensor;
use crossloom_ir::op::{BinaryKind, Iota};
use crossloom_recipe::{PositionResample, VisionModel};

use crate::ModelError;
use crate::params::Params;

/// Positions that the cubic reads beyond either border, at most.
const BEYOND: usize = 2;

/// The position embeddings `[S, D]` of the image's grid, the class token's first, from those `[.., D]` that are kept.
pub(super) fn positions(p: &mut Params, kept: Tensor, model: &VisionModel) -> Result<Tensor, ModelError> {
    let (from, to) = (model.position_grid.unwrap_or(model.grid()), model.grid());
    if from == to {
        return Ok(kept);
    }
    p.enter("positions");
    let (classes, width) = (usize::from(model.class_token), model.hidden);
    let mut patches = kept;
    if model.class_token {
        patches = p.graph.slice(kept, 0, classes, from * from)?;
    }
    let matrix = match model.position_resample {
        PositionResample::Bicubic => by_centres(p, from, to)?,
        PositionResample::Bilinear => by_corners(p, from, to)?,
    };
    // Rows first; then columns, which become rows meanwhile.
    let mut x = p.graph.reshape(patches, &[from, from * width])?;
    for other in [from, to] {
        x = p.graph.matmul(matrix, x, false, false)?;
        x = p.graph.reshape(x, &[to, other, width])?;
        x = p.graph.transpose(x, &[1, 0, 2])?;
        x = p.graph.reshape(x, &[other, to * width])?;
    }
    x = p.graph.reshape(x, &[to * to, width])?;
    if model.class_token {
        let class = p.graph.slice(kept, 0, 0, classes)?;
        x = p.graph.concat(&[class, x], 0)?;
    }
    p.leave();
    Ok(x)
}

/// The matrix `[to, from]` that resamples one axis between its two nearest samples; a single position is the first of them.
fn by_corners(p: &mut Params, from: usize, to: usize) -> Result<Tensor, ModelError> {
    let shape = vec![to, from];
    let scale = (from - 1) as f64 / (to - 1).max(1) as f64;
    let at = p.graph.one(Iota { shape: shape.clone(), axis: 0 }, &[])?;
    let at = p.graph.affine(at, scale, 0.0)?;
    let sample = p.graph.one(Iota { shape: shape.clone(), axis: 1 }, &[])?;
    let offset = p.graph.sub(at, sample)?;
    let back = p.graph.neg(offset)?;
    let distance = p.graph.binary(BinaryKind::Max, offset, back)?;
    let weight = p.graph.affine(distance, -1.0, 1.0)?;
    let zero = p.graph.constant(0.0, &shape)?;
    Ok(p.graph.binary(BinaryKind::Max, weight, zero)?)
}

/// The matrix `[to, from]` that resamples one axis by the cubic.
fn by_centres(p: &mut Params, from: usize, to: usize) -> Result<Tensor, ModelError> {
    let shape = vec![to, from + 2 * BEYOND];
    let scale = from as f64 / to as f64;
    let at = p.graph.one(Iota { shape: shape.clone(), axis: 0 }, &[])?;
    let at = p.graph.affine(at, scale, scale / 2.0 - 0.5)?;
    let sample = p.graph.one(Iota { shape: shape.clone(), axis: 1 }, &[])?;
    let sample = p.graph.affine(sample, 1.0, -(BEYOND as f64))?;
    let offset = p.graph.sub(at, sample)?;
    let back = p.graph.neg(offset)?;
    let distance = p.graph.binary(BinaryKind::Max, offset, back)?;
    let weights = cubic(p, distance, &shape)?;
    // What lies beyond a border counts for the sample on it.
    let edge = BEYOND + 1;
    if from == 1 {
        let all = p.graph.reduce_sum(weights, &[1])?;
        return Ok(p.graph.reshape(all, &[to, 1])?);
    }
    let mut columns = Vec::with_capacity(3);
    for (start, len) in [(0, edge), (edge, from - 2), (edge + from - 2, edge)] {
        if len == 0 {
            continue;
        }
        let mut part = p.graph.slice(weights, 1, start, len)?;
        if start != edge {
            part = p.graph.reduce_sum(part, &[1])?;
            part = p.graph.reshape(part, &[to, 1])?;
        }
        columns.push(part);
    }
    Ok(p.graph.concat(&columns, 1)?)
}

/// Keys' cubic of a distance `d`, written of `u = max(0, 2 - d)` and `v = max(0, 1 - d)`: `3/4 (u - 1) u^2 - 2 v^3`, which has
/// no cases.
fn cubic(p: &mut Params, distance: Tensor, shape: &[usize]) -> Result<Tensor, ModelError> {
    let zero = p.graph.constant(0.0, shape)?;
    let [u, v] = [2.0, 1.0].map(|reach| {
        let left = p.graph.affine(distance, -1.0, reach)?;
        p.graph.binary(BinaryKind::Max, left, zero)
    });
    let (u, v) = (u?, v?);
    let outer = p.graph.affine(u, 0.75, -0.75)?;
    let outer = p.graph.mul(outer, u)?;
    let outer = p.graph.mul(outer, u)?;
    let inner = p.graph.affine(v, -2.0, 0.0)?;
    let inner = p.graph.mul(inner, v)?;
    let inner = p.graph.mul(inner, v)?;
    Ok(p.graph.add(outer, inner)?)
}
