//! Whether what a tap shows of a place of the picture is added where the picture's token of that place stands.

use crossloom_ir::Tensor;

use super::super::bench::{Bench, ROUNDING};
use super::super::evaluate::{Change, apart, rows};
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
    for permutation in PERMUTATIONS {
        let of_patches = spread(permutation, patches);
        let order = every_row(&of_patches, bench.sizes.batch);
        // What a tap shows is permuted and not the states it is made of: those of tiles are places of another grid.
        let moved = |tensor: &Tensor<f64>| permuted(tensor, &order);
        let world = scene.world(&bench.sight(&scene.base, moved))?;
        let order = every_row(&spread(permutation, tokens), bench.sizes.batch);
        for (edge, wire) in wiring.edges.iter().enumerate() {
            let Some(segment) = scene.segment(wire.point) else { continue };
            if wire.is_input && bench.sequences.visual > tokens * tokens {
                let note = "the input has more tokens than the picture has places, and permuting places says nothing of them";
                verified.edge(edge, Aspect::Alignment).note(note);
                continue;
            }
            let plain =
                scene.update(wiring, edge, &Change::default(), &scene.cut(wiring, edge, &scene.world))?;
            let mut h = scene.base.value(segment.start).clone();
            let (width, from) = (h.last(), h.clone());
            for (&to, &source) in visual.iter().zip(&order) {
                let source = visual[source] * width;
                h.data[to * width..(to + 1) * width].copy_from_slice(&from.data[source..source + width]);
            }
            let change = Change {
                values: [(segment.start, h)].into(),
                operands: scene.entering(wire.point, &world.now),
            };
            let moved = scene.update(wiring, edge, &change, &scene.cut(wiring, edge, &world))?;
            let (Some(plain), Some(moved)) = (plain, moved) else { continue };
            let mut expected = plain.clone();
            for (&to, &source) in visual.iter().zip(&order) {
                let source = visual[source] * width;
                expected.data[to * width..(to + 1) * width]
                    .copy_from_slice(&plain.data[source..source + width]);
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
    Ok(())
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
