//! From the states of a text's pieces to its vector.

use crossloom_graph::Tensor;
use crossloom_ir::op::{BinaryKind, UnaryKind};

use crate::ModelError;
use crate::params::Params;

/// Added to the square of a length, so that a row without a piece, whose vector is zeros, has one that can be divided by.
const SMALLEST_SQUARE: f64 = 1e-24;

/// The mean of `[B, T, D]` over the pieces that the mask `[B, T]` names, `[B, D]`; of length 1 where that is asked for.
pub(super) fn pool(p: &mut Params, x: Tensor, mask: Tensor, normalized: bool) -> Result<Tensor, ModelError> {
    let states = p.graph.shape(x).to_vec();
    let shape = [states[0], states[2]];
    let kept = p.graph.broadcast(mask, &states, &[0, 1])?;
    let kept = p.graph.mul(x, kept)?;
    let sum = p.graph.reduce_sum(kept, &[1])?;
    let pieces = p.graph.reduce_sum(mask, &[1])?;
    let one = p.graph.constant(1.0, &[states[0]])?;
    let pieces = p.graph.binary(BinaryKind::Max, pieces, one)?;
    let pieces = p.graph.broadcast(pieces, &shape, &[0])?;
    let mean = p.graph.div(sum, pieces)?;
    if !normalized {
        return Ok(mean);
    }
    let squares = p.graph.mul(mean, mean)?;
    let square = p.graph.reduce_sum(squares, &[1])?;
    let square = p.graph.affine(square, 1.0, SMALLEST_SQUARE)?;
    let factor = p.graph.unary(UnaryKind::Rsqrt, square)?;
    let factor = p.graph.broadcast(factor, &shape, &[0])?;
    Ok(p.graph.mul(mean, factor)?)
}
