//! Pixels to tokens: patches, a linear layer, a class token, positions, and the norm that CLIP adds.

use crossloom_graph::Tensor;
use crossloom_ir::op::LayerNorm;
use crossloom_recipe::{Part, VisionModel};

use super::positions::positions;
use crate::params::Params;
use crate::{Init, ModelError};

pub(super) const PREFIX: &str = "vision_tower.vision_model";

/// `[B, C, H, W]` to `[B, g*g, C*p*p]`: patches in row-major order, each as channel, row, column. Pixels beyond the last
/// whole patch are not read.
fn patchify(p: &mut Params, pixels_bchw: Tensor, model: &VisionModel) -> Result<Tensor, ModelError> {
    let (grid, patch, channels) = (model.grid(), model.patch_size, model.channels);
    let batch = p.graph.shape(pixels_bchw)[0];
    let mut x = pixels_bchw;
    for axis in [2, 3] {
        if p.graph.shape(x)[axis] != grid * patch {
            x = p.graph.slice(x, axis, 0, grid * patch)?;
        }
    }
    let x = p.graph.reshape(x, &[batch, channels, grid, patch, grid, patch])?;
    let x = p.graph.transpose(x, &[0, 2, 4, 1, 3, 5])?;
    Ok(p.graph.reshape(x, &[batch, grid * grid, channels * patch * patch])?)
}

/// The kernel `[D, C, p, p]` of a still picture. Where the encoder reads videos, every frame of a patch is that picture: what the
/// frames have beside each other is added.
fn kernel(p: &mut Params, name: &str, model: &VisionModel) -> Result<Tensor, ModelError> {
    let (hidden, channels, frames, patch) =
        (model.hidden, model.channels, model.temporal_patch, model.patch_size);
    let init = Init::linear(channels * frames * patch * patch);
    if frames == 1 {
        return Ok(p.param(Part::Vision, name, &[hidden, channels, patch, patch], init));
    }
    let kernel = p.param(Part::Vision, name, &[hidden, channels, frames, patch, patch], init);
    Ok(p.graph.reduce_sum(kernel, &[2])?)
}

/// The state that enters the first block, `[B, S, D]` with S the patches and a class token where there is one.
pub(super) fn embed(p: &mut Params, pixels_bchw: Tensor, model: &VisionModel) -> Result<Tensor, ModelError> {
    let (patch, channels, hidden) = (model.patch_size, model.channels, model.hidden);
    let prefix = format!("{PREFIX}.embeddings");
    let patches = patchify(p, pixels_bchw, model)?;
    let batch = p.graph.shape(patches)[0];
    let fan_in = channels * patch * patch;
    let name = format!("{prefix}.patch_embedding.weight");
    let kernel = kernel(p, &name, model)?;
    let weight = p.graph.reshape(kernel, &[hidden, fan_in])?;
    let bias = model
        .patch_bias
        .then(|| p.param(Part::Vision, &format!("{prefix}.patch_embedding.bias"), &[hidden], Init::ZEROS));
    let mut x = p.graph.linear(patches, weight, bias)?;
    if model.class_token {
        let name = format!("{prefix}.class_embedding");
        let class = p.param(Part::Vision, &name, &[hidden], Init::Uniform { std: 0.02 });
        let class = p.graph.broadcast(class, &[batch, 1, hidden], &[2])?;
        x = p.graph.concat(&[class, x], 1)?;
    }
    let tokens = p.graph.shape(x)[1];
    let name = format!("{prefix}.position_embedding.weight");
    let kept = p.param(Part::Vision, &name, &[model.positions(), hidden], Init::Uniform { std: 0.02 });
    let positions = positions(p, kept, model)?;
    let positions = p.graph.broadcast(positions, &[batch, tokens, hidden], &[1, 2])?;
    let mut x = p.graph.add(x, positions)?;
    if model.pre_norm {
        // The name is spelt like this in every CLIP checkpoint.
        let [gain, offset] = p.layer_norm(Part::Vision, &format!("{PREFIX}.pre_layrnorm"), hidden);
        x = p.graph.one(LayerNorm { eps: model.norm_eps }, &[x, gain, offset])?;
    }
    Ok(x)
}
