//! One graph per phase, of the pieces that the whole model is built of.
//!
//! [`encode`] and [`connect`] (or both as one) run per picture, and again only when their weights change; [`prefill`] reads
//! prompts into a cache of keys and values; [`decode`] goes on from there. All work on the same named weights, and on caches
//! of one shape whatever the number of rows and tokens of a call.

use crossloom_ir::{Role, TensorType};
use crossloom_recipe::{Phase, PointAddress, Recipe, Tap};

use crate::build::{
    Entering, InjectionEdges, Places, Seen, declare_pixels, embed, features, finish, head, layers,
    text_segments, vocabulary,
};
use crate::chunks::never;
use crate::conditioning::question;
use crate::connector::embeddings;
use crate::injection::{Features, Injector, PictureCache};
use crate::language::{Cache, Memory, Sequence, turned_by};
use crate::layout::Layout;
use crate::params::Params;
use crate::vision::States;
use crate::{BatchShape, Chunking, ModelError, ModelGraph, Outputs, StepShape, caches, chunking, inputs};

/// The edges of an injection, in order.
type Edges<'e> = &'e [(Tap, PointAddress)];

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
    for (state, tensor) in States::encode(&mut p, recipe, pixels)?.iter() {
        p.graph.result(&state.name(), tensor);
    }
    Ok(finish(p, Vec::new()))
}

/// The states that [`encode`] gave, of the images of a batch, to what the language model reads; where views are counted, `visual_rows` and
/// `visual_weights` say what its rows have of them; where that depends on the question, `tokens` and `question_mask` `[B, T]`, or `question_vector` `[B, E]`, are inputs too. Results: `visual` `[B, N, D]` and,
/// where something is injected, `features` `[K, B, N, D]` in the order of the taps, or of the edges where each has its own; those of an
/// injection with a name are `features.NAME`.
///
/// # Errors
/// As [`build`](crate::build).
pub fn connect(
    recipe: &Recipe,
    edges: Edges<'_>,
    shape: BatchShape,
    vocab: usize,
) -> Result<ModelGraph, ModelError> {
    let mut p = start(recipe);
    let states = States::given(&mut p, recipe, shape.images());
    connected(p, recipe, edges, &states, shape, vocab)
}

/// [`encode`] and [`connect`] as one graph.
///
/// # Errors
/// As [`build`](crate::build).
pub fn encode_and_connect(
    recipe: &Recipe,
    edges: Edges<'_>,
    shape: BatchShape,
    vocab: usize,
) -> Result<ModelGraph, ModelError> {
    let mut p = start(recipe);
    let pixels = declare_pixels(&mut p, recipe, shape.images());
    let states = States::encode(&mut p, recipe, pixels)?;
    connected(p, recipe, edges, &states, shape, vocab)
}

/// Reads prompts, or chunks of them, into the cache. Inputs: `tokens`, `positions`, `segments` `[B, T]`; `slot`, `start`,
/// `count` `[B]`; `target_index` `[B, M]`, into the `T` positions of the call; and, with pictures, `visual`, `features`,
/// `image_index` (-1 for a visual token of another chunk), `pool_mask`, `text_mask` and `picture_slot`, as the topology needs
/// them; `text_segments` `[B, T]` where only some layers have visual tokens. Results: `predictions`, `logits`, and the gates of every
/// point.
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
    read(recipe, edges, step, vocab, span, Ends::Targets(targets))
}

/// The same without the head: it ends in the result [`inputs::HIDDEN`] `[B, T, D]`, the states behind the last layer, of which
/// [`predict_next`] reads as many as there is room for. So the logits of many positions never lie in memory at once.
///
/// # Errors
/// As [`prefill`].
pub fn prefill_hidden(
    recipe: &Recipe,
    edges: Edges<'_>,
    step: StepShape,
    vocab: usize,
    span: Span,
) -> Result<ModelGraph, ModelError> {
    read(recipe, edges, step, vocab, span, Ends::Hidden)
}

/// The head alone: from [`inputs::HIDDEN`] `[1, M, D]`, states behind the last layer, to `predictions` `[M]` and `logits` `[M, V]`.
///
/// # Errors
/// As [`build`](crate::build).
pub fn predict_next(recipe: &Recipe, positions: usize, vocab: usize) -> Result<ModelGraph, ModelError> {
    let vocab = vocabulary(recipe, vocab)?;
    let language = &recipe.model.language;
    let mut p = start(recipe);
    let states = TensorType::f32([1, positions, language.hidden]);
    let h = p.graph.param(inputs::HIDDEN, Role::Input, states);
    head(&mut p, h, None, language, vocab, Outputs::Predictions)?;
    Ok(finish(p, Vec::new()))
}

/// Prompts, or chunks of them, up to an end.
fn read(
    recipe: &Recipe,
    edges: Edges<'_>,
    step: StepShape,
    vocab: usize,
    span: Span,
    ends: Ends,
) -> Result<ModelGraph, ModelError> {
    if span != Span::Whole && chunking(recipe) == Chunking::Never {
        return Err(never(recipe));
    }
    match span {
        Span::Whole | Span::Chunk => language(recipe, edges, step, vocab, Pictures::Read, ends),
        Span::Text => language(recipe, &acting(recipe, edges), step, vocab, Pictures::Kept, ends),
    }
}

/// Goes on with sequences of the cache: inputs as for [`prefill`], without pictures and targets. Results: `predictions`
/// `[B*T]` and `logits` `[B*T, V]`, at every position. With `T = 1` one token per sequence; with more, one per question of a
/// packed sequence. Holds only the edges whose phase includes decoding.
///
/// # Errors
/// As [`build`](crate::build).
pub fn decode(
    recipe: &Recipe,
    edges: Edges<'_>,
    step: StepShape,
    vocab: usize,
) -> Result<ModelGraph, ModelError> {
    language(recipe, &acting(recipe, edges), step, vocab, Pictures::Kept, Ends::All)
}

/// What a call over the cache ends in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// Logits of so many positions of a row.
    Targets(usize),
    /// Logits of all positions.
    All,
    /// The states of all positions, in front of the head.
    Hidden,
}

/// What a call has of its pictures.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pictures {
    /// They are given, and what later calls need of them is kept.
    Read,
    /// An earlier call has read them.
    Kept,
}

/// The edges that are computed where no picture is given: those whose phase is all.
fn acting(recipe: &Recipe, edges: Edges<'_>) -> Vec<(Tap, PointAddress)> {
    let phase = |point| recipe.topology.injection_at(point).map(|injection| injection.of.phase);
    edges.iter().filter(|(_, point)| phase(*point) == Some(Phase::All)).cloned().collect()
}

fn start(recipe: &Recipe) -> Params {
    Params::new(recipe)
}

fn connected(
    mut p: Params,
    recipe: &Recipe,
    edges: Edges<'_>,
    states: &States,
    shape: BatchShape,
    vocab: usize,
) -> Result<ModelGraph, ModelError> {
    let BatchShape { batch, tokens, .. } = shape;
    let layout = Layout::declare(&mut p, recipe, shape)?;
    let asked = question(&mut p, recipe, None, [batch, tokens], vocab)?;
    let visual = embeddings(&mut p, states, recipe, layout, asked)?;
    p.graph.result(inputs::VISUAL, visual);
    for (own, features) in features(&mut p, states, recipe, edges, layout)? {
        p.graph.result(&own.injection.under(inputs::FEATURES), features.stacked());
    }
    Ok(finish(p, Vec::new()))
}

/// The language model over a cache.
fn language(
    recipe: &Recipe,
    edges: Edges<'_>,
    step: StepShape,
    vocab: usize,
    pictures: Pictures,
    ends: Ends,
) -> Result<ModelGraph, ModelError> {
    let vocab = vocabulary(recipe, vocab)?;
    let language = &recipe.model.language;
    let StepShape { rows, tokens, cache, visual } = step;
    let mut p = start(recipe);
    let mut input = |name: &str, ty: TensorType| p.graph.param(name, Role::Input, ty);
    let ids = input(inputs::TOKENS, TensorType::i32([rows, tokens]));
    let positions = input(inputs::POSITIONS, TensorType::i32([rows, tokens]));
    let segments = input(inputs::SEGMENTS, TensorType::i32([rows, tokens]));
    let seen = match pictures {
        Pictures::Read => Seen::Now { visual },
        Pictures::Kept => Seen::Before,
    };
    let places = Places::declare(&mut p, recipe, edges, [rows, tokens], seen)?;
    let mut input = |name: &str, ty: TensorType| p.graph.param(name, Role::Input, ty);
    let visual_tokens = visual.unwrap_or(recipe.visual_tokens());
    let picture = places
        .image_index
        .map(|index| (input(inputs::VISUAL, TensorType::f32([rows, visual_tokens, language.hidden])), index));
    let target_index = match ends {
        Ends::Targets(targets) => Some(input(inputs::TARGET_INDEX, TensorType::i32([rows, targets]))),
        Ends::All | Ends::Hidden => None,
    };
    let memory = Cache::declare(&mut p, step, segments)?;
    let (picture, entering) = Entering::parted(recipe, picture);
    let h = embed(&mut p, ids, picture, language, vocab)?;
    let own = InjectionEdges::of(recipe, edges);
    let slots = cache.slots;
    let keeps = pictures == Pictures::Read && own.iter().any(|own| own.injection.of.phase == Phase::All);
    let picture_slot =
        keeps.then(|| p.graph.param(inputs::PICTURE_SLOT, Role::Input, TensorType::i32([rows])));
    let injectors = own.iter().map(|own| {
        let InjectionEdges { injection, edges } = own;
        let kept = match (pictures, injection.of.phase, picture_slot) {
            (Pictures::Kept, ..) => PictureCache::Kept { slots, slot: memory.slot() },
            (Pictures::Read, Phase::All, Some(slot)) => PictureCache::Written { slots, slot },
            (Pictures::Read, ..) => PictureCache::None,
        };
        let features = (pictures == Pictures::Read)
            .then(|| Features::given(&mut p, &recipe.model, *injection, edges, [rows, visual_tokens]));
        places.injector(recipe, own, features, kept)
    });
    let injectors: Vec<Injector<'_>> = injectors.collect();
    let positions = turned_by(&mut p, positions, places.image_index, &recipe.model)?;
    let elsewhere = match text_segments(&mut p, recipe, [rows, tokens]) {
        None => None,
        Some((stretch, segments)) => {
            let memory = memory.with(&mut p, caches::TEXT_SEGMENTS, segments)?;
            Some((stretch, Memory::Cache(memory)))
        }
    };
    let sequence = Sequence { positions, memory: Memory::Cache(memory), elsewhere };
    let (h, gates) = layers(&mut p, h, entering.as_ref(), sequence, recipe, &injectors)?;
    match ends {
        Ends::Hidden => p.graph.result(inputs::HIDDEN, h),
        Ends::Targets(_) | Ends::All => {
            head(&mut p, h, target_index, language, vocab, Outputs::Predictions)?;
        }
    }
    Ok(finish(p, gates))
}
