//! Whether rows whose pictures are cut into tiles show of a list of views what their layout says.

use crossloom_ir::Tensor;
use crossloom_model::inputs;

use super::super::bench::{Bench, ROUNDING};
use super::super::evaluate::{Evaluated, Named, apart};
use super::super::functions::Use;
use super::super::report::Verified;
use super::super::scene::Scene;
use super::super::weights;
use crate::ExperimentError;

/// What a learned token at the end of a row of tiles' tokens is called.
const ROW_END: &str = "image_newline";

/// The same pictures as views in another order, with one that nothing shows, laid out as whole ones, give the same logits, from the input
/// and from all taps; a token that is the end of a row is the learned one, which nothing else reads, and no tap is added to it.
pub(crate) fn check(
    bench: &Bench<'_>,
    scene: &Scene<'_>,
    verified: &mut Verified,
) -> Result<(), ExperimentError> {
    if bench.recipe.model.vision.anyres.is_none() {
        return Ok(());
    }
    let function = bench.function(Use::OverViews)?;
    let mut given = weights::generic(&function.params);
    let (rows, of_view) = (bench.sizes.batch, bench.recipe.model.visual_tokens());
    let view = |row: usize| (row + 1) % rows;
    let shown = |(name, state): (&String, &Tensor<f64>)| {
        let size = state.data.len() / rows;
        let of_view = |i: usize| {
            let (at, value) = (i / size, i % size);
            let row = (0..rows).find(|&row| view(row) == at);
            row.map_or(1.0, |row| state.at(row * size + value))
        };
        let mut shape = state.shape.clone();
        shape[0] = rows + 1;
        (name.clone(), Tensor::from_fn(shape, of_view))
    };
    let states: Named = bench.states.iter().map(shown).collect();
    let end = ((rows + 1) * of_view) as f64;
    // `ends` says of which token of its row each row has none but an end.
    let laid = |ends: Option<usize>| {
        let shape = [rows, of_view, inputs::VISUAL_PARTS];
        let token = |i: usize| (i / inputs::VISUAL_PARTS / of_view, i / inputs::VISUAL_PARTS % of_view);
        let row_of = |i: usize| {
            let (row, token) = token(i);
            match i % inputs::VISUAL_PARTS {
                0 if Some(token) == ends => end,
                0 => (view(row) * of_view + token) as f64,
                _ => 0.0,
            }
        };
        let weight = |i: usize| f64::from(u8::from(i.is_multiple_of(inputs::VISUAL_PARTS)));
        let mut named = Named::new();
        named.insert(inputs::VISUAL_ROWS.to_owned(), Tensor::from_fn(shape, row_of));
        named.insert(inputs::VISUAL_WEIGHTS.to_owned(), Tensor::from_fn(shape, weight));
        if let Some(index) = bench.text.get(inputs::IMAGE_INDEX) {
            let place = |i: usize| if Some(i % of_view) == ends { -1.0 } else { index.at(i) };
            named.insert(inputs::PATCH_INDEX.to_owned(), Tensor::from_fn(index.shape.clone(), place));
        }
        named
    };
    let logits = |layout: &Named, weights: &Named| -> Result<Option<Tensor<f64>>, ExperimentError> {
        let call = Evaluated::new(&function.func, &[&states, layout, &bench.text, weights])?;
        Ok(call.result("logits").cloned())
    };
    let (whole, ended) = (laid(None), laid(Some(of_view - 1)));
    let (same, with_end) = (logits(&whole, &given)?, logits(&ended, &given)?);
    if let Some(token) = given.get_mut(ROW_END) {
        *token = weights::moved(token, 5, ROW_END);
    }
    let (same_again, other_end) = (logits(&whole, &given)?, logits(&ended, &given)?);

    let proof = verified.shared("layout");
    let distance = |a: Option<&Tensor<f64>>, b: Option<&Tensor<f64>>| {
        a.zip(b).map_or(f64::INFINITY, |(a, b)| apart(a, b))
    };
    let off = distance(same.as_ref(), scene.base.result("logits"));
    proof.at_most("off", off);
    if off > ROUNDING {
        proof
            .fail("views in another order, laid out as whole pictures, do not give what these pictures give");
    }
    if same != same_again {
        proof.fail(format!("`{ROW_END}` is read where no row of tiles' tokens ends"));
    }
    let read = distance(with_end.as_ref(), other_end.as_ref());
    proof.at_most("end", read);
    if read <= ROUNDING {
        proof.fail(format!("the end of a row of tiles' tokens does not read `{ROW_END}`"));
    }
    Ok(())
}
