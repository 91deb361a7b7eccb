//! Shares of the largest few of a row of scores.

use crossloom_graph::Tensor;
use crossloom_ir::op::{BinaryKind, Iota, Softmax};

use crate::ModelError;
use crate::params::Params;

/// The score of what must have no share.
const FORBIDDEN: f64 = -1e30;

/// Which scores of each row are taken, and what share each has.
pub(super) struct TopK {
    /// 1 where a score is taken, else 0; no gradient flows through it.
    pub(super) taken: Tensor,
    /// The softmax of those that are taken, 0 elsewhere.
    pub(super) shares: Tensor,
}

/// The `count` largest of every row of `scores [.., K]`, of equal ones the first.
///
/// A score's rank is how many are ahead of it, counted pair by pair: rows are short, as there are as many scores as layers.
pub(super) fn top_k(p: &mut Params, scores: Tensor, count: usize) -> Result<TopK, ModelError> {
    let g = &mut p.graph;
    let shape = g.shape(scores).to_vec();
    let last = shape.len() - 1;
    let pairs = [&shape[..], &shape[last..]].concat();
    let lead: Vec<usize> = (0..last).collect();
    let own = g.broadcast(scores, &pairs, &[&lead[..], &[last]].concat())?;
    let other = g.broadcast(scores, &pairs, &[&lead[..], &[last + 1]].concat())?;
    let ahead = g.binary(BinaryKind::LessThan, own, other)?;
    let behind = g.binary(BinaryKind::LessThan, other, own)?;
    let apart = g.add(ahead, behind)?;
    let tied = g.affine(apart, -1.0, 1.0)?;
    let place = |axis| Iota { shape: pairs.clone(), axis };
    let (own_place, other_place) = (g.one(place(last), &[])?, g.one(place(last + 1), &[])?);
    let before = g.binary(BinaryKind::LessThan, other_place, own_place)?;
    let before = g.mul(tied, before)?;
    let ahead = g.add(ahead, before)?;
    let rank = g.reduce_sum(ahead, &[last + 1])?;
    let count = g.constant(count as f64, &shape)?;
    let taken = g.binary(BinaryKind::LessThan, rank, count)?;
    let bias = g.affine(taken, -FORBIDDEN, FORBIDDEN)?;
    let scores = g.add(scores, bias)?;
    Ok(TopK { taken, shares: g.one(Softmax, &[scores])? })
}
