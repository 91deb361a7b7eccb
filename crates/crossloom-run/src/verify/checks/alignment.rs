//! Whether what a tap shows of a place of the picture is added where the picture's token of that place stands.

use crossloom_ir::Tensor;
use crossloom_recipe::{Input, TokenConcat};

use super::super::bench::{Bench, ROUNDING};
use super::super::evaluate::{Change, apart, norm, rows};
use super::super::report::{Aspect, Verified};
use super::super::scene::Scene;
use crate::ExperimentError;

/// Permutations of four units that leave no other permutation unchanged: what is in its place under both is in its place.
const PERMUTATIONS: [[usize; 4]; 2] = [[1, 2, 3, 0], [1, 0, 2, 3]];

/// Permuting the units of a picture, in the taps and in the hidden state, permutes what every edge adds. A unit is what an adapter
/// reads as one: a patch, a block of patches that is merged, a window.
pub(crate) fn check(
    bench: &Bench<'_>,
    scene: &Scene<'_>,
    verified: &mut Verified,
) -> Result<(), ExperimentError> {
    let (wiring, visual) = (&bench.wiring, bench.visual_rows());
    let (patches, tokens) = (bench.recipe.model.vision.grid(), bench.recipe.model.visual_grid());
    // Behind one token of each place a connector may have further ones, of which `means` tells.
    let (places, all) = (tokens * tokens, bench.sequences.visual);
    let further: Vec<usize> = (0..visual.len()).filter(|token| token % all >= places).collect();
    for permutation in PERMUTATIONS {
        let order = every_row(&spread(permutation, patches), bench.sizes.batch);
        // What a tap shows is permuted and not the states it is made of: those of tiles are places of another grid.
        let moved = |tensor: &Tensor<f64>| permuted(tensor, &order);
        let world = scene.world(&bench.sight(&scene.base, moved))?;
        let mut order = spread(permutation, tokens);
        order.truncate(all);
        order.extend(places..all);
        let order: Vec<usize> =
            every_row(&order, bench.sizes.batch).into_iter().map(|token| visual[token]).collect();
        for (edge, wire) in wiring.edges.iter().enumerate() {
            let Some(segment) = scene.segment(wire.point) else { continue };
            let plain =
                scene.update(wiring, edge, &Change::default(), &scene.cut(wiring, edge, &scene.world))?;
            let change = Change {
                values: [(segment.start, rearranged(scene.base.value(segment.start), &visual, &order))]
                    .into(),
                operands: scene.entering(wire.point, &world.now),
            };
            let moved = scene.update(wiring, edge, &change, &scene.cut(wiring, edge, &world))?;
            let (Some(plain), Some(mut moved)) = (plain, moved) else { continue };
            let mut expected = rearranged(&plain, &visual, &order);
            for tensor in [&mut moved, &mut expected] {
                let width = tensor.last();
                let rows = further.iter().map(|&token| visual[token]);
                rows.for_each(|row| tensor.data[row * width..(row + 1) * width].fill(0.0));
            }
            let off = apart(&moved, &expected);
            let proof = verified.edge(edge, Aspect::Alignment);
            proof.at_most("off", off);
            if off > ROUNDING {
                proof.fail(format!(
                    "permuting what is seen does not permute what it adds: {:.0} % of it is elsewhere",
                    100.0 * off.min(1.0)
                ));
            }
        }
    }
    means(bench, scene, verified)
}

/// Where further taps are appended to the input as means over neighbours in reading order, other neighbours change their own token and
/// no other.
fn means(bench: &Bench<'_>, scene: &Scene<'_>, verified: &mut Verified) -> Result<(), ExperimentError> {
    let Input::Tokens(TokenConcat { also, pool, .. }) = &bench.recipe.topology.input else { return Ok(()) };
    let (wiring, visual) = (&bench.wiring, bench.visual_rows());
    let (places, all) = (bench.recipe.model.visual_grid().pow(2), bench.sequences.visual);
    let count = all.saturating_sub(places).checked_div(also.len()).unwrap_or_default();
    for mean in 0..count {
        let other = |tensor: &Tensor<f64>| {
            let (width, patches) = (tensor.last(), tensor.shape[1]);
            let own = |i: usize| i / width % patches / pool == mean;
            let value = |i: usize| if own(i) { 1.0 - tensor.data[i] } else { tensor.data[i] };
            Tensor::from_fn(tensor.shape.clone(), value)
        };
        let world = scene.world(&bench.sight(&scene.base, other))?;
        for (edge, wire) in wiring.edges.iter().enumerate().filter(|(_, wire)| wire.is_input) {
            let plain =
                scene.update(wiring, edge, &Change::default(), &scene.cut(wiring, edge, &scene.world))?;
            let change = Change { operands: scene.entering(wire.point, &world.now), ..Change::default() };
            let changed = scene.update(wiring, edge, &change, &scene.cut(wiring, edge, &world))?;
            let (Some(plain), Some(changed)) = (plain, changed) else { continue };
            let size = norm(plain.data.iter().copied());
            let differs = |&token: &usize| {
                let (old, new) = (plain.row(visual[token]), changed.row(visual[token]));
                norm(old.iter().zip(&new).map(|(a, b)| a - b)) > ROUNDING * size
            };
            let is_own = |&token: &usize| {
                let of = also.get((token % all - places) / count);
                of.is_some_and(|of| of.to_string() == wiring.taps[wire.tap].name)
                    && (token % all - places) % count == mean
            };
            let mut further = (0..visual.len()).filter(|token| token % all >= places);
            if further.any(|token| differs(&token) != is_own(&token)) {
                verified
                    .edge(edge, Aspect::Alignment)
                    .fail("a mean over neighbours stands where another one should");
            }
        }
    }
    Ok(())
}

/// A state whose rows `to` are those that stand at `of` now.
fn rearranged(state: &Tensor<f64>, to: &[usize], of: &[usize]) -> Tensor<f64> {
    let (width, mut new) = (state.last(), state.clone());
    for (&to, &of) in to.iter().zip(of) {
        new.data[to * width..(to + 1) * width].copy_from_slice(&state.data[of * width..(of + 1) * width]);
    }
    new
}

/// The order of all places of a square of so many a side when its quarters are permuted.
fn spread(permutation: [usize; 4], side: usize) -> Vec<usize> {
    let half = side / 2;
    let from = |place: usize| {
        let (row, column) = (place / side, place % side);
        let unit = permutation[row / half * 2 + column / half];
        (unit / 2 * half + row % half) * side + unit % 2 * half + column % half
    };
    (0..side * side).map(from).collect()
}

/// The same order in every picture of a batch.
fn every_row(order: &[usize], batch: usize) -> Vec<usize> {
    (0..batch).flat_map(|row| order.iter().map(move |place| row * order.len() + place)).collect()
}

/// The rows of `[B, N, D]` in another order.
fn permuted(state: &Tensor<f64>, order: &[usize]) -> Tensor<f64> {
    Tensor { shape: state.shape.clone(), data: rows(state, order.iter().copied()).data }
}
