//! From vision states to the embeddings that stand at the positions of the visual tokens.

use crossloom_graph::Tensor;
use crossloom_recipe::{Input, Part, Recipe, TokenConcat, WindowInput};

use super::mol::mixture;
use super::weighted::weighted;
use super::windows::{WindowReader, windows};
use crate::ModelError;
use crate::layout::Layout;
use crate::params::Params;
use crate::projector::{ProjectorWeights, SHARED, prepared, projected};
use crate::vision::{States, side_by_side, tap};

/// The states at the input, each `[B, patches, Dv]`, to the input embeddings `[B, N, D]` of the visual tokens; zeros where none is
/// there. `layout` says what rows have of the tokens of views, where these are counted; `question` is a vector `[B, E]` of what is
/// asked, where the recipe has such.
pub(crate) fn embeddings(
    p: &mut Params,
    states: &States,
    recipe: &Recipe,
    layout: Option<Layout>,
    question: Option<Tensor>,
) -> Result<Tensor, ModelError> {
    let visual = of_views(p, states, recipe, question)?;
    match layout {
        Some(layout) => layout.visual(p, visual, recipe),
        None => Ok(visual),
    }
}

/// The same of every image that was encoded, `[V, n, D]`.
fn of_views(
    p: &mut Params,
    states: &States,
    recipe: &Recipe,
    question: Option<Tensor>,
) -> Result<Tensor, ModelError> {
    p.enter("projector");
    let (model, spec) = (&recipe.model, &recipe.topology);
    let state = match &spec.input {
        Input::Windows(of) => {
            let visual = of_windows(p, states, recipe, of)?;
            p.leave();
            return Ok(visual);
        }
        Input::None => None,
        Input::Channels(taps) => Some(side_by_side(p, states, recipe, taps)?),
        Input::Tokens(of) => Some(tokens(p, states, recipe, of)?),
        Input::Weighted(of) => Some(weighted(p, states, recipe, of, question)?),
        Input::Mixture(of) => Some(mixture(p, states, recipe, of, question)?),
    };
    let visual = match state {
        None => {
            let images = states.batch(p)?;
            p.graph.constant(0.0, &[images, model.visual_tokens(), model.language.hidden])?
        }
        Some(state) => {
            let (norm, name) = (model.projector.norm, format!("{SHARED}.norm"));
            let read = prepared(p, Part::Projector, &name, norm, state, model)?;
            projected(p, (Part::Projector, SHARED), read, spec.input_width(), None, model)?
        }
    };
    p.leave();
    Ok(visual)
}

/// A state, and behind it means over neighbours of others.
fn tokens(p: &mut Params, states: &States, recipe: &Recipe, of: &TokenConcat) -> Result<Tensor, ModelError> {
    let mut parts = vec![tap(p, states, recipe, &of.of)?];
    for also in &of.also {
        let state = tap(p, states, recipe, also)?;
        let [batch, patches, width] =
            [p.graph.shape(state)[0], p.graph.shape(state)[1], p.graph.ty(state).last()];
        let rows = patches / of.pool;
        let whole = p.graph.slice(state, 1, 0, rows * of.pool)?;
        let grouped = p.graph.reshape(whole, &[batch, rows, of.pool, width])?;
        let sum = p.graph.reduce_sum(grouped, &[2])?;
        let mean = p.graph.affine(sum, (of.pool as f64).recip(), 0.0)?;
        parts.push(p.graph.reshape(mean, &[batch, rows, width])?);
    }
    if let [only] = parts[..] { Ok(only) } else { Ok(p.graph.concat(&parts, 1)?) }
}

/// A learned token that reads windows of taps, in every place, through the projector.
fn of_windows(
    p: &mut Params,
    states: &States,
    recipe: &Recipe,
    of: &WindowInput,
) -> Result<Tensor, ModelError> {
    let (model, &WindowInput { hidden, heads, depth, .. }) = (&recipe.model, of);
    let mut taps = Vec::with_capacity(of.of.len());
    for name in &of.of {
        let state = tap(p, states, recipe, name)?;
        taps.push(windows(p, &format!("injection.adapter.{name}"), hidden, state, model)?);
    }
    let reader = WindowReader { part: Part::Adapter, hidden, heads };
    let tokens = reader.learned(p, "injection.connector", depth, &taps)?;
    ProjectorWeights::reading(p, Part::Projector, SHARED, model, hidden).apply(p, tokens, model)
}
