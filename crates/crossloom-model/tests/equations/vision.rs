//! A pre-norm vision transformer as CLIP, SigLIP and DINOv2 define it, one picture at a time.

use crate::algebra::{Row, Rows, activate, attend, dot, layer_norm, plus, times};
use crate::settings::{Tap, Vision};
use crate::tape::Num;
use crate::weights::Weights;

const PREFIX: &str = "vision_tower.vision_model";
const CHANNELS: usize = 3;

/// All states of the encoder for one picture, each one row per token.
pub(crate) struct States<'t> {
    /// Before the first block, after it, after the second, …
    blocks: Vec<Rows<'t>>,
    post_norm: Option<Rows<'t>>,
    /// Rows in front of those of the patches.
    class_tokens: usize,
}

impl<'t> States<'t> {
    /// The states for pixels `[channel][y][x]`.
    pub(crate) fn of(vision: &Vision, weights: &Weights<'t>, pixels: &[f64]) -> Self {
        let mut blocks = vec![embeddings(vision, weights, pixels)];
        for layer in 0..vision.layers {
            blocks.push(block(vision, weights, layer, &blocks[layer]));
        }
        let post_norm = vision.post_norm.then(|| {
            let norm = weights.layer_norm(&format!("{PREFIX}.post_layernorm"), vision.hidden);
            blocks[vision.layers].iter().map(|x| layer_norm(x, &norm, vision.eps)).collect()
        });
        Self { blocks, post_norm, class_tokens: usize::from(vision.class_token) }
    }

    /// The patches' rows of a state.
    pub(crate) fn tap(&self, tap: Tap) -> Rows<'t> {
        let state = match tap {
            Tap::Embed => &self.blocks[0],
            Tap::Block(block) => &self.blocks[block],
            Tap::PostNorm => self.post_norm.as_ref().unwrap(),
        };
        state[self.class_tokens..].to_vec()
    }
}

/// A convolution whose stride is its size, the class token in front, positions, and perhaps a norm.
fn embeddings<'t>(vision: &Vision, weights: &Weights<'t>, pixels: &[f64]) -> Rows<'t> {
    let (side, patch, width) = (vision.image_size, vision.patch, vision.hidden);
    let prefix = format!("{PREFIX}.embeddings");
    let (frames, name) = (vision.frames, format!("{prefix}.patch_embedding.weight"));
    let kernel = weights.kernel(&name, [width, CHANNELS, frames, patch]);
    let bias =
        vision.patch_bias.then(|| weights.vector(&format!("{prefix}.patch_embedding.bias"), width, 0.5));
    let mut rows = Rows::new();
    if vision.class_token {
        rows.push(weights.vector(&format!("{prefix}.class_embedding"), width, 1.0));
    }
    for (row, column) in
        (0..vision.grid()).flat_map(|row| (0..vision.grid()).map(move |column| (row, column)))
    {
        let mut seen = Row::new();
        // A still picture is every frame of a patch.
        let of_channel = (0..CHANNELS).flat_map(|c| std::iter::repeat_n(c, frames));
        for (channel, y, x) in
            of_channel.flat_map(|c| (0..patch).flat_map(move |y| (0..patch).map(move |x| (c, y, x))))
        {
            let at = (channel * side + row * patch + y) * side + column * patch + x;
            seen.push(Num::constant(pixels[at]));
        }
        let token: Row<'t> = kernel.iter().map(|filter| dot(filter, &seen)).collect();
        rows.push(bias.as_ref().map_or(token.clone(), |bias| plus(&token, bias)));
    }
    let positions = positions(vision, weights, &format!("{prefix}.position_embedding.weight"));
    let placed = rows.iter().zip(&positions).map(|(row, position)| plus(row, position));
    if !vision.pre_norm {
        return placed.collect();
    }
    // The name is spelled as in every checkpoint.
    let norm = weights.layer_norm(&format!("{PREFIX}.pre_layrnorm"), width);
    placed.map(|row| layer_norm(&row, &norm, vision.eps)).collect()
}

/// The position embedding of every row: on a grid of another size, read between its points.
fn positions<'t>(vision: &Vision, weights: &Weights<'t>, name: &str) -> Rows<'t> {
    let (class_tokens, to) = (usize::from(vision.class_token), vision.grid());
    let from = vision.position_grid.unwrap_or(to);
    let kept = weights.matrix(name, class_tokens + from * from, vision.hidden);
    if from == to {
        return kept;
    }
    // Neighbours along an axis with their weights; those outside are the outermost.
    let neighbours = |i: usize| -> Vec<(usize, f64)> {
        if vision.by_corners {
            let at = if to > 1 { (i * (from - 1)) as f64 / (to - 1) as f64 } else { 0.0 };
            let (below, share) = (at.floor() as usize, at.fract());
            return vec![(below, 1.0 - share), ((below + 1).min(from - 1), share)];
        }
        let at = (i as f64 + 0.5) * from as f64 / to as f64 - 0.5;
        let inside = |n: f64| n.clamp(0.0, (from - 1) as f64) as usize;
        (-1..=2).map(|n| at.floor() + f64::from(n)).map(|n| (inside(n), cubic((at - n).abs()))).collect()
    };
    let mut rows = kept[..class_tokens].to_vec();
    for (row, column) in (0..to).flat_map(|row| (0..to).map(move |column| (row, column))) {
        let mut here = vec![Num::constant(0.0); vision.hidden];
        for (y, wy) in neighbours(row) {
            for (x, wx) in neighbours(column) {
                here = plus(&here, &times(&kept[class_tokens + y * from + x], wy * wx));
            }
        }
        rows.push(here);
    }
    rows
}

/// Keys' kernel with a = -3/4.
fn cubic(d: f64) -> f64 {
    const A: f64 = -0.75;
    if d <= 1.0 {
        (A + 2.0) * d.powi(3) - (A + 3.0) * d.powi(2) + 1.0
    } else if d < 2.0 {
        A * (d.powi(3) - 5.0 * d.powi(2) + 8.0 * d - 4.0)
    } else {
        0.0
    }
}

/// What a branch adds, by the factors of its channels.
fn scaled<'t>(vision: &Vision, weights: &Weights<'t>, name: &str, update: Row<'t>) -> Row<'t> {
    if !vision.layer_scale {
        return update;
    }
    let factors = weights.vector(name, vision.hidden, 1.5);
    update.into_iter().zip(factors).map(|(x, factor)| x * factor).collect()
}

/// The first half of a head's pairs is turned by the row, the second by the column, each with the wave lengths of a head of half the
/// width. Number i and the one half a head further are a pair.
fn turned<'t>(x: &[Num<'t>], at: [usize; 2], theta: f64) -> Row<'t> {
    let (half, quarter) = (x.len() / 2, x.len() / 4);
    let angle = |i: usize| at[i / quarter] as f64 * theta.powf(-((2 * (i % quarter)) as f64) / half as f64);
    let first = (0..half).map(|i| x[i] * angle(i).cos() + -(x[i + half] * angle(i).sin()));
    let second = (0..half).map(|i| x[i + half] * angle(i).cos() + x[i] * angle(i).sin());
    first.chain(second).collect()
}

fn block<'t>(vision: &Vision, weights: &Weights<'t>, layer: usize, x: &Rows<'t>) -> Rows<'t> {
    let prefix = format!("{PREFIX}.encoder.layers.{layer}");
    let width = vision.hidden;

    let norm = weights.layer_norm(&format!("{prefix}.layer_norm1"), width);
    let normed: Rows<'t> = x.iter().map(|x| layer_norm(x, &norm, vision.eps)).collect();
    let projection = |name: &str| {
        weights.linear(&format!("{prefix}.self_attn.{name}_proj"), width, width, vision.qkv_bias)
    };
    let [mut queries, mut keys, values] =
        ["q", "k", "v"].map(|name| normed.iter().map(|x| projection(name).of(x)).collect::<Rows<'t>>());
    let out = projection("out");
    let head_width = width / vision.heads;
    if let Some(theta) = vision.theta {
        for rows in [&mut queries, &mut keys] {
            for (patch, row) in rows.iter_mut().enumerate() {
                let at = [patch / vision.grid(), patch % vision.grid()];
                *row = row.chunks(head_width).flat_map(|head| turned(head, at, theta)).collect();
            }
        }
    }
    let attended = queries.iter().map(|query| {
        let mut mixed = Row::new();
        for head in 0..vision.heads {
            let own = head * head_width..(head + 1) * head_width;
            let scores: Row<'t> =
                keys.iter().map(|key| dot(&query[own.clone()], &key[own.clone()])).collect();
            let values: Vec<&[Num<'t>]> = values.iter().map(|value| &value[own.clone()]).collect();
            mixed.extend(attend(&times(&scores, (head_width as f64).sqrt().recip()), &values));
        }
        scaled(vision, weights, &format!("{prefix}.layer_scale1.lambda1"), out.of(&mixed))
    });
    let x: Rows<'t> = x.iter().zip(attended).map(|(x, update)| plus(x, &update)).collect();

    let norm = weights.layer_norm(&format!("{prefix}.layer_norm2"), width);
    let first = weights.linear(&format!("{prefix}.mlp.fc1"), vision.mlp, width, true);
    let second = weights.linear(&format!("{prefix}.mlp.fc2"), width, vision.mlp, true);
    x.iter()
        .map(|x| {
            let hidden = first.of(&layer_norm(x, &norm, vision.eps));
            let hidden: Row<'t> = hidden.into_iter().map(|h| activate(vision.activation, h)).collect();
            let update = second.of(&hidden);
            plus(x, &scaled(vision, weights, &format!("{prefix}.layer_scale2.lambda1"), update))
        })
        .collect()
}
