//! Taps: states of the encoder, and sources that are made of them.

use crossloom_graph::Tensor;
use crossloom_recipe::{Input, LayerWeights, Part, Recipe, Sampling, Tap, TapSource, Weighted};

use super::{States, VisionState};
use crate::ModelError;
use crate::connector::Fuser;
use crate::params::Params;

/// The vision states that a recipe's input and taps read, each once: the input's first, in order; then the class tokens that its
/// weights read.
pub fn tapped(recipe: &Recipe) -> Vec<VisionState> {
    let spec = &recipe.topology;
    let mut seen = Vec::new();
    let mut see = |state: VisionState| {
        if !seen.contains(&state) {
            seen.push(state);
        }
    };
    for tap in spec.input.taps().iter().chain(&spec.taps()) {
        states_of(recipe, tap).into_iter().for_each(&mut see);
    }
    if let Input::Weighted(Weighted { of, weights: LayerWeights::Allocator { .. }, .. }) = &spec.input
        && recipe.model.vision.class_token
    {
        of.iter().flat_map(|tap| classes_of(recipe, tap)).for_each(&mut see);
    }
    seen
}

/// A row per picture that stands for a tap, `[B, 1, Dv]`: the mean of its class tokens, or of its patches where the encoder has none.
pub(crate) fn summary(
    p: &mut Params,
    states: &States,
    recipe: &Recipe,
    of: &Tap,
) -> Result<Tensor, ModelError> {
    if recipe.model.vision.class_token {
        return mean(p, states, &classes_of(recipe, of));
    }
    let patches = tap(p, states, recipe, of)?;
    let [batch, count, width] =
        [p.graph.shape(patches)[0], p.graph.shape(patches)[1], p.graph.ty(patches).last()];
    let sum = p.graph.reduce_sum(patches, &[1])?;
    let mean = p.graph.affine(sum, (count as f64).recip(), 0.0)?;
    Ok(p.graph.reshape(mean, &[batch, 1, width])?)
}

/// The states that a tap is made of.
pub fn states_of(recipe: &Recipe, tap: &Tap) -> Vec<VisionState> {
    match (tap, recipe.topology.source(tap)) {
        (Tap::State(address), _) => vec![VisionState::Patches(*address)],
        (_, Some((TapSource::Mean { of }, _))) => of.iter().copied().map(VisionState::Patches).collect(),
        (_, Some((TapSource::Channels { of }, _))) => {
            of.iter().flat_map(|inner| states_of(recipe, inner)).collect()
        }
        (_, Some((TapSource::Stacks { of, side, .. }, _))) => vec![VisionState::Tiles(*of, *side)],
        (_, Some((TapSource::MmFuser(fuser), _))) => {
            std::iter::once(fuser.query).chain(fuser.of.iter().copied()).map(VisionState::Patches).collect()
        }
        (Tap::Source(_), None) => Vec::new(),
    }
}

/// The class tokens of the states that a tap is made of.
fn classes_of(recipe: &Recipe, tap: &Tap) -> Vec<VisionState> {
    states_of(recipe, tap).into_iter().map(|state| VisionState::Class(state.address())).collect()
}

/// A tap of encoded pictures, `[B, patches, W]`; W is as many vision widths as states lie side by side in it.
pub(crate) fn tap(p: &mut Params, states: &States, recipe: &Recipe, tap: &Tap) -> Result<Tensor, ModelError> {
    let (source, number) = match (tap, recipe.topology.source(tap)) {
        (Tap::State(address), _) => return states.get(VisionState::Patches(*address)),
        (Tap::Source(_), Some((source, number))) => (source, number),
        (Tap::Source(_), None) => {
            return Err(ModelError::Incomplete(format!("`{tap}` is no tap of the topology")));
        }
    };
    p.enter_at(&format!("vision.source.{tap}"));
    let made = match source {
        TapSource::Mean { of } => {
            let patches: Vec<VisionState> = of.iter().copied().map(VisionState::Patches).collect();
            mean(p, states, &patches)?
        }
        TapSource::Channels { of } => side_by_side(p, states, recipe, of)?,
        TapSource::Stacks { of, side, sampling } => {
            let tiles = states.get(VisionState::Tiles(*of, *side))?;
            stack(p, tiles, *side, *sampling, number)?
        }
        TapSource::MmFuser(spec) => {
            let query = states.get(VisionState::Patches(spec.query))?;
            let read = spec
                .of
                .iter()
                .map(|&of| states.get(VisionState::Patches(of)))
                .collect::<Result<Vec<_>, _>>()?;
            let side = recipe.model.vision.grid();
            let of = (Part::Adapter, &*format!("injection.connector.{tap}"));
            Fuser { of, spec, side }.fuse(p, query, &read)?
        }
    };
    p.leave();
    Ok(made)
}

/// The channels of taps side by side.
pub(crate) fn side_by_side(
    p: &mut Params,
    states: &States,
    recipe: &Recipe,
    taps: &[Tap],
) -> Result<Tensor, ModelError> {
    let parts = taps.iter().map(|inner| tap(p, states, recipe, inner)).collect::<Result<Vec<_>, _>>()?;
    if let [only] = parts[..] { Ok(only) } else { Ok(p.graph.concat(&parts, 2)?) }
}

/// One of the stacks of a picture's tiles `[B, side² N, Dv]`, `[B, N, Dv]`; of scaled down ones a quarter of the rows.
fn stack(
    p: &mut Params,
    tiles: Tensor,
    side: usize,
    sampling: Sampling,
    number: usize,
) -> Result<Tensor, ModelError> {
    let [batch, rows, width] = [p.graph.shape(tiles)[0], p.graph.shape(tiles)[1], p.graph.ty(tiles).last()];
    let mut patches = rows / (side * side);
    let mut grid = patches.isqrt();
    let (i, j) = (number / side, number % side);
    let mut x = tiles;
    if sampling == Sampling::Scaledown2d {
        (patches, grid) = (patches / 4, grid / 2);
        // Blocks of the whole picture are those of its tiles, whose sides are even.
        let blocks = p.graph.reshape(x, &[batch, side * grid, 2, side * grid, 2, width])?;
        let sum = p.graph.reduce_sum(blocks, &[2, 4])?;
        x = p.graph.affine(sum, 0.25, 0.0)?;
    }
    let (shape, places) = match sampling {
        Sampling::Grid1d => (vec![batch, patches, side * side, width], vec![(2, number)]),
        Sampling::Grid2d | Sampling::Scaledown2d => {
            (vec![batch, grid, side, grid, side, width], vec![(2, i), (4, j)])
        }
        Sampling::Tiles => (vec![batch, side, grid, side, grid, width], vec![(1, i), (3, j)]),
    };
    x = p.graph.reshape(x, &shape)?;
    for (axis, at) in places {
        x = p.graph.slice(x, axis, at, 1)?;
    }
    Ok(p.graph.reshape(x, &[batch, patches, width])?)
}

fn mean(p: &mut Params, states: &States, of: &[VisionState]) -> Result<Tensor, ModelError> {
    let mut sum: Option<Tensor> = None;
    for &state in of {
        let state = states.get(state)?;
        sum = Some(match sum {
            Some(sum) => p.graph.add(sum, state)?,
            None => state,
        });
    }
    let sum = sum.ok_or_else(|| ModelError::Incomplete("a mean of no states".to_owned()))?;
    Ok(p.graph.affine(sum, (of.len() as f64).recip(), 0.0)?)
}
