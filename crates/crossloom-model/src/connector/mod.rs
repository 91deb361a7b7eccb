//! What makes one visual stream of several vision states in front of the language model, and what reads them again behind its
//! layers.

mod deformable;
mod mmfuser;
mod mol;
#[cfg(test)]
mod tests;
mod top_k;
mod windows;

pub(crate) use mmfuser::Fuser;
pub(crate) use windows::{WindowReader, windows};

use crossloom_graph::Tensor;
use crossloom_ir::op::LayerNorm;
use crossloom_recipe::Part;

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
