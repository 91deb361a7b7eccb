//! What makes one visual stream of several vision states in front of the language model, and what reads them again behind its
//! layers.

mod deformable;
mod input;
mod mmfuser;
mod mol;
#[cfg(test)]
mod tests;
mod top_k;
mod weighted;
mod windows;

pub(crate) use mmfuser::Fuser;
pub(crate) use windows::{WindowReader, windows};

use crossloom_graph::Tensor;
use crossloom_ir::op::{BinaryKind, LayerNorm, UnaryKind};
use crossloom_recipe::Part;

pub(crate) use input::embeddings;

use crate::linear::Linear;
use crate::params::Params;
use crate::{Init, ModelError};

/// The part that weights belong to, and what their names begin with.
type Of<'n> = (Part, &'n str);

/// A linear layer with a bias, `[out, in]`, whose weight and bias start as they are told to.
fn linear_from(
    p: &mut Params,
    (part, name): Of<'_>,
    [out, fan_in]: [usize; 2],
    [weight, bias]: [Init; 2],
) -> Linear {
    p.param(part, &format!("{name}.weight"), &[out, fan_in], weight);
    p.param(part, &format!("{name}.bias"), &[out], bias);
    p.linear(part, name, out, fan_in, true)
}

/// Rows `[.., W]` through a layer norm of that name.
fn layer_norm(p: &mut Params, (part, name): Of<'_>, eps: f64, x: Tensor) -> Result<Tensor, ModelError> {
    let width = p.graph.ty(x).last();
    let [gain, offset] = p.layer_norm(part, name, width);
    Ok(p.graph.one(LayerNorm { eps }, &[x, gain, offset])?)
}

/// `max(x, 0)`.
fn relu(p: &mut Params, x: Tensor) -> Result<Tensor, ModelError> {
    let shape = p.graph.shape(x).to_vec();
    let zero = p.graph.constant(0.0, &shape)?;
    let open = p.graph.binary(BinaryKind::LessThan, zero, x)?;
    Ok(p.graph.mul(x, open)?)
}

/// Logarithms of the softmax of every row.
fn log_softmax(p: &mut Params, scores: Tensor) -> Result<Tensor, ModelError> {
    let g = &mut p.graph;
    let shape = g.shape(scores).to_vec();
    let axis = shape.len() - 1;
    let lead: Vec<usize> = (0..axis).collect();
    let largest = g.reduce_max(scores, &[axis])?;
    let largest = g.broadcast(largest, &shape, &lead)?;
    let below = g.sub(scores, largest)?;
    let powers = g.unary(UnaryKind::Exp, below)?;
    let sum = g.reduce_sum(powers, &[axis])?;
    let log = g.unary(UnaryKind::Log, sum)?;
    let log = g.broadcast(log, &shape, &lead)?;
    Ok(g.sub(below, log)?)
}
