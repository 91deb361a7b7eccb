//! Verified wiring: for every edge of a topology a proof that what runs is what the recipe says.
//!
//! [`verify()`] builds the functions of a recipe at its real depth, with widths scaled down, and measures on them. What an edge is, is
//! read out of the functions themselves: a place of the decoder is known by the weights that read the hidden state there, a vision
//! state by the weights that it depends on, and an edge by what arrives at a place when a tap shows something else. Nothing here
//! knows kinds of adapters or gates, but for the few numbers of a recipe that scale what is added.
//!
//! [`Functions`] is where the functions come from: a test gives others than those that are built, with a bug in them.

mod bench;
mod checks;
mod evaluate;
mod functions;
mod report;
mod scene;
mod sequences;
mod small;
mod stream;
mod trained;
mod weights;
mod wiring;

use crossloom_recipe::Recipe;

use crate::ExperimentError;
use bench::Bench;
use checks::{
    alignment, gates, gradient, layout, liveness, owners, phases, plans, secrets, settings, structure, taps,
};
use scene::Scene;

pub use functions::{Built, Function, Functions, Sizes, Use, step_of};
pub use report::{Aspect, EdgeProof, Proof, Verified};
pub use trained::{Contribution, Contributions, contributions};

/// Verifies the wiring of a recipe, or of one of its stages, on the functions that are given.
///
/// # Errors
/// A function cannot be built, compiled or run at all. What is wrong with the wiring is no error but among the proofs.
pub fn verify(recipe: &Recipe, functions: &dyn Functions) -> Result<Verified, ExperimentError> {
    let bench = Bench::new(recipe, functions)?;
    let mut verified = Verified::of(bench.wiring.edges.iter().map(|edge| edge.name.clone()));
    taps::check(&bench, &mut verified);
    let given = [&bench.states, &bench.text, &bench.weights];
    let func = &bench.over_states.func;
    let [other, nothing] = bench.instead(func);
    let result = (bench.layers(), "logits");
    let scene = match Scene::new(func, &given, (&other, &nothing), &bench.wiring, result)? {
        Ok(scene) => scene,
        Err(problems) => {
            for problem in problems {
                verified.shared("stream").fail(problem);
            }
            return Ok(verified);
        }
    };
    structure::check(&bench, &scene, &mut verified)?;
    owners::check(&bench, &scene, &mut verified)?;
    settings::check(&bench, &mut verified)?;
    gates::check(&bench, &scene, &mut verified)?;
    secrets::check(&bench, &scene, &mut verified)?;
    liveness::check(&bench, &scene, &mut verified)?;
    gradient::check(&bench, &mut verified)?;
    alignment::check(&bench, &scene, &mut verified)?;
    layout::check(&bench, &scene, &mut verified)?;
    let calls = phases::check(&bench, &scene, &mut verified)?;
    plans::check(&bench, &scene.base, &calls, &mut verified)?;
    Ok(verified)
}
