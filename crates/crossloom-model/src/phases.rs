//! One graph per phase, of the pieces that the whole model is built of.
//!
//! [`encode`] and [`connect`] (or both as one) run per picture, and again only when their weights change; [`prefill`] reads
//! prompts into a cache of keys and values; [`decode`] goes on from there. All work on the same named weights, and on caches
//! of one shape whatever the number of rows and tokens of a call.

use crossloom_ir::{Role, TensorType};
use crossloom_recipe::{Phase, PointAddress, Recipe, VisionAddress};

use crate::build::{by_point, declare_pixels, embed, embeddings, features, finish, head, layers, vocabulary};
use crate::chunks::never;
use crate::injection::{Features, Injector};
use crate::language::{Cache, Memory, Sequence, turned_by};
use crate::params::Params;
use crate::vision::States;
use crate::{Chunking, ModelError, ModelGraph, Outputs, StepShape, chunking, inputs};

/// The edges of an injection, in order.
type Edges<'e> = &'e [(VisionAddress, PointAddress)];

/// What part of a prompt a prefill graph reads at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// All of it.
    Whole,
    /// A chunk that may hold visual tokens, see [`Chunking::cut`].
    Chunk,
    /// A chunk without visual tokens: no picture is given and nothing injected.
    Text,
}

/// Pixels of `batch` pictures to the vision states that the topology reads. Results: `state.{address}`, each `[B, N, Dv]`,
/// the input's first.
///
/// # Errors
/// As [`build`](crate::build).
pub fn encode(recipe: &Recipe, batch: usize) -> Result<ModelGraph, ModelError> {
    let mut p = start(recipe);
    let pixels = declare_pixels(&mut p, recipe, batch);
    for (address, state) in States::encode(&mut p, recipe, pixels)?.iter() {
        p.graph.result(&inputs::state(address), state);
    }
    Ok(finish(p, Vec::new()))
}

/// The states that [`encode`] gave, of `batch` pictures, to what the language model reads. Results: `visual` `[B, N, D]` and,
/// where something is injected, `features` `[K, B, N, D]` in the order of the taps, or of the edges where each has its own.
///
/// # Errors
/// As [`build`](crate::build).
pub fn connect(recipe: &Recipe, edges: Edges<'_>, batch: usize) -> Result<ModelGraph, ModelError> {
    let mut p = start(recipe);
    let states = States::given(&mut p, recipe, batch);
    connected(p, recipe, edges, &states, batch)
}

/// [`encode`] and [`connect`] as one graph.
///
/// # Errors
/// As [`build`](crate::build).
pub fn encode_and_connect(recipe: &Recipe, edges: Edges<'_>, batch: usize) -> Result<ModelGraph, ModelError> {
    let mut p = start(recipe);
    let pixels = declare_pixels(&mut p, recipe, batch);
    let states = States::encode(&mut p, recipe, pixels)?;
    connected(p, recipe, edges, &states, batch)
}

/// Reads prompts, or chunks of them, into the cache. Inputs: `tokens`, `positions`, `segments` `[B, T]`; `slot`, `start`,
/// `count` `[B]`; `target_index` `[B, M]`, into the `T` positions of the call; and, with pictures, `visual`, `features`,
/// `image_index` (-1 for a visual token of another chunk) and `pool_mask`. Results: `predictions`, `logits`, and the gates
/// of every point.
///
/// # Errors
/// - As [`build`](crate::build).
/// - [`ModelError::Chunks`]: a span of less than a whole prompt, where a gate pools the whole.
pub fn prefill(
    recipe: &Recipe,
    edges: Edges<'_>,
    step: StepShape,
    targets: usize,
    vocab: usize,
    span: Span,
) -> Result<ModelGraph, ModelError> {
    if span != Span::Whole && chunking(recipe) == Chunking::Never {
        return Err(never(recipe));
    }
    let pictures = span != Span::Text;
    let edges = if pictures && acts_in_prefill(recipe.topology.phase) { edges } else { &[] };
    language(recipe, edges, step, vocab, pictures, Some(targets))
}

/// Goes on with sequences of the cache: inputs as for [`prefill`], without pictures and targets. Results: `predictions`
/// `[B*T]` and `logits` `[B*T, V]`, at every position. With `T = 1` one token per sequence; with more, one per question of a
/// packed sequence. Holds only the edges whose phase includes decoding.
///
/// # Errors
/// As [`build`](crate::build); an edge that acts in decoding, which no fusion can yet.
pub fn decode(
    recipe: &Recipe,
    edges: Edges<'_>,
    step: StepShape,
    vocab: usize,
) -> Result<ModelGraph, ModelError> {
    let edges = if acts_in_decode(recipe.topology.phase) { edges } else { &[] };
    language(recipe, edges, step, vocab, !edges.is_empty(), None)
}

/// Whether an edge of that phase is computed when a prompt is read.
fn acts_in_prefill(phase: Phase) -> bool {
    match phase {
        Phase::Prefill => true,
    }
}

/// Whether an edge of that phase is computed when a token is generated.
fn acts_in_decode(phase: Phase) -> bool {
    match phase {
        Phase::Prefill => false,
    }
}

fn start(recipe: &Recipe) -> Params {
    Params::new(recipe)
}

fn connected(
    mut p: Params,
    recipe: &Recipe,
    edges: Edges<'_>,
    states: &States,
    batch: usize,
) -> Result<ModelGraph, ModelError> {
    let visual = embeddings(&mut p, states, recipe, batch)?;
    p.graph.result(inputs::VISUAL, visual);
    if let Some(features) = features(&mut p, states, recipe, edges)? {
        p.graph.result(inputs::FEATURES, features.stacked());
    }
    Ok(finish(p, Vec::new()))
}

/// The language model over a cache; `targets` positions of a row are read, or all.
fn language(
    recipe: &Recipe,
    edges: Edges<'_>,
    step: StepShape,
    vocab: usize,
    pictures: bool,
    targets: Option<usize>,
) -> Result<ModelGraph, ModelError> {
    let vocab = vocabulary(recipe, vocab)?;
    let (visual_tokens, language) = (recipe.model.visual_tokens(), &recipe.model.language);
    let StepShape { rows, tokens, .. } = step;
    let mut p = start(recipe);
    let mut input = |name: &str, ty: TensorType| p.graph.param(name, Role::Input, ty);
    let ids = input(inputs::TOKENS, TensorType::i32([rows, tokens]));
    let positions = input(inputs::POSITIONS, TensorType::i32([rows, tokens]));
    let segments = input(inputs::SEGMENTS, TensorType::i32([rows, tokens]));
    let mut picture = None;
    if pictures {
        let visual = input(inputs::VISUAL, TensorType::f32([rows, visual_tokens, language.hidden]));
        picture = Some((visual, input(inputs::IMAGE_INDEX, TensorType::i32([rows, visual_tokens]))));
    }
    let target_index = targets.map(|targets| input(inputs::TARGET_INDEX, TensorType::i32([rows, targets])));
    let cache = Cache::declare(&mut p, step, segments)?;
    let h = embed(&mut p, ids, picture, language, vocab)?;
    let injector = match picture.filter(|_| !edges.is_empty()) {
        None => None,
        Some((_, image_index)) => {
            let features = Features::given(&mut p, recipe, edges, rows);
            let pool_mask = p.graph.param(inputs::POOL_MASK, Role::Input, TensorType::f32([rows, tokens]));
            let points = by_point(edges);
            Some(Injector { spec: &recipe.topology, features, points, image_index, pool_mask })
        }
    };
    let index = picture.map(|(_, image_index)| image_index);
    let positions = turned_by(&mut p, positions, index, &recipe.model)?;
    let sequence = Sequence { positions, memory: Memory::Cache(cache) };
    let (h, gates) = layers(&mut p, h, sequence, language, injector.as_ref())?;
    head(&mut p, h, target_index, language, vocab, Outputs::Predictions)?;
    Ok(finish(p, gates))
}
