//! The pieces of a model, and the whole as one graph.

use crossloom_graph::{LuminalGraph, Tensor};
use crossloom_ir::op::{Argmax, CrossEntropy, ScatterMode, ScatterRows};
use crossloom_ir::{Role, TensorType};
use crossloom_recipe::{Gate, LanguageModel, Mask, PointAddress, Recipe, Stretch, Tap};

use crate::adaptation::{self, Layers};
use crate::conditioning::question;
use crate::connector::embeddings;
use crate::injection::{Features, Injector, PictureCache, PointGates, adapt};
use crate::language::{Memory, Sequence, decoder_layer, embed_tokens, predict, scaled, turned_by};
use crate::params::Params;
use crate::vision::States;
use crate::{BatchShape, ModelError, ParamSpec, inputs};

/// Results named `gate.{point}` hold the gate values of a point, `[B, K]` or `[B, K, D]`.
pub const GATE_RESULT: &str = "gate.";

/// Results named `auxiliary.{name}` hold what the loss has beside the mean cross-entropy, each before its factor.
pub const AUXILIARY_RESULT: &str = "auxiliary.";

/// Which results the graph has, besides the gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outputs {
    /// `loss`, a scalar: mean cross-entropy of the targets, and what a connector adds to it.
    Loss,
    /// `predictions` `[B*M]` i32 and `logits` `[B*M, V]`: the most likely next token at every target position.
    Predictions,
}

/// A model as a graph, with what is needed to feed, start and read it.
pub struct ModelGraph {
    /// The graph.
    pub graph: LuminalGraph,
    /// Every parameter.
    pub params: Vec<ParamSpec>,
    /// Every gated point with the taps whose gate values its result holds, in order.
    pub gates: Vec<(PointAddress, Vec<Tap>)>,
}

/// Builds the model of a recipe for one batch shape. `edges` are the injection's edges in order.
///
/// # Errors
/// Operands that do not fit, which a checked recipe does not lead to; a vocabulary of unknown size; LoRA or sets of tensors that
/// name what the model does not have.
pub fn build(
    recipe: &Recipe,
    edges: &[(Tap, PointAddress)],
    shape: BatchShape,
    vocab: usize,
    outputs: Outputs,
) -> Result<ModelGraph, ModelError> {
    whole(recipe, edges, shape, vocab, outputs, true)
}

/// The same over vision states that [`encode`](crate::encode) gave, as inputs in the place of pixels: it has no encoder.
///
/// # Errors
/// As [`build`].
pub fn build_over_states(
    recipe: &Recipe,
    edges: &[(Tap, PointAddress)],
    shape: BatchShape,
    vocab: usize,
    outputs: Outputs,
) -> Result<ModelGraph, ModelError> {
    whole(recipe, edges, shape, vocab, outputs, false)
}

fn whole(
    recipe: &Recipe,
    edges: &[(Tap, PointAddress)],
    shape: BatchShape,
    vocab: usize,
    outputs: Outputs,
    encodes: bool,
) -> Result<ModelGraph, ModelError> {
    let vocab = vocabulary(recipe, vocab)?;
    let language = &recipe.model.language;
    let BatchShape { batch, tokens, targets } = shape;
    let mut p = Params::new(recipe);
    let pixels = encodes.then(|| declare_pixels(&mut p, recipe, batch));
    let mut input = |name: &str, ty: TensorType| p.graph.param(name, Role::Input, ty);
    let ids = input(inputs::TOKENS, TensorType::i32([batch, tokens]));
    let positions = input(inputs::POSITIONS, TensorType::i32([batch, tokens]));
    let segments = input(inputs::SEGMENTS, TensorType::i32([batch, tokens]));
    let target_index = input(inputs::TARGET_INDEX, TensorType::i32([batch, targets]));

    let states = match pixels {
        Some(pixels) => States::encode(&mut p, recipe, pixels)?,
        None => States::given(&mut p, recipe, batch),
    };
    let places = Places::declare(&mut p, recipe, [batch, tokens], true, !edges.is_empty());
    let asked = question(&mut p, recipe, Some(ids), [batch, tokens], vocab)?;
    let picture = match places.image_index {
        None => None,
        Some(index) => Some((embeddings(&mut p, &states, recipe, batch, asked)?, index)),
    };
    let (picture, entering) = Entering::parted(recipe, picture);
    let h = embed(&mut p, ids, picture, language, vocab)?;
    let features = features(&mut p, &states, recipe, edges)?;
    let injector =
        features.map(|features| places.injector(recipe, edges, Some(features), PictureCache::None));
    let positions = turned_by(&mut p, positions, places.image_index, &recipe.model)?;
    let elsewhere = text_segments(&mut p, recipe, [batch, tokens])
        .map(|(stretch, segments)| (stretch, Memory::Sequence { segments }));
    let sequence = Sequence { positions, memory: Memory::Sequence { segments }, elsewhere };
    let (h, gates) = layers(&mut p, h, entering.as_ref(), sequence, recipe, injector.as_ref())?;
    head(&mut p, h, Some(target_index), language, vocab, outputs)?;
    let (model, mut layers) = finished(p, gates);
    let mut params = model.params.clone();
    if !encodes {
        // What a recipe names is looked for in the encoder too.
        let mut p = Params::new(recipe);
        let pixels = declare_pixels(&mut p, recipe, 1);
        States::encode(&mut p, recipe, pixels)?;
        let (encoder, of_encoder) = finished(p, Vec::new());
        params.extend(encoder.params);
        layers.extend(of_encoder);
    }
    adaptation::check(recipe, &params, &layers)?;
    Ok(model)
}

/// The segments `[B, T]` of layers without visual tokens, where only some have them, with those that have.
pub(crate) fn text_segments(p: &mut Params, recipe: &Recipe, shape: [usize; 2]) -> Option<(Stretch, Tensor)> {
    let stretch = recipe.topology.stream.stretch()?;
    Some((stretch, p.graph.param(inputs::TEXT_SEGMENTS, Role::Input, TensorType::i32(shape))))
}

/// Visual tokens that enter before a layer behind the first.
pub(crate) struct Entering {
    layer: usize,
    /// `[B, N, D]`.
    visual: Tensor,
    /// `[B, N]`.
    image_index: Tensor,
}

impl Entering {
    /// Visual tokens and their places as what is there from the first layer on, or enters later.
    pub(crate) fn parted(
        recipe: &Recipe,
        picture: Option<(Tensor, Tensor)>,
    ) -> (Option<(Tensor, Tensor)>, Option<Self>) {
        match (recipe.topology.stream.first_layer(), picture) {
            (layer @ 1.., Some((visual, image_index))) => (None, Some(Self { layer, visual, image_index })),
            (_, picture) => (picture, None),
        }
    }

    /// The hidden state `[B, T, D]` with them in their places.
    fn enter(&self, p: &mut Params, h: Tensor, language: &LanguageModel) -> Result<Tensor, ModelError> {
        p.enter("language.embed");
        let visual = scaled(p, self.visual, language.embedding_multiplier)?;
        let h = p.graph.one(ScatterRows { mode: ScatterMode::Set }, &[h, self.image_index, visual])?;
        p.leave();
        Ok(h)
    }
}

/// Inputs that say which positions are what to an injection.
pub(crate) struct Places {
    /// `[B, N]` positions of the visual tokens, where they are in the sequence.
    pub(crate) image_index: Option<Tensor>,
    pool_mask: Option<Tensor>,
    text_mask: Option<Tensor>,
}

impl Places {
    /// Those that a recipe's topology needs, for sequences of `[B, T]` with visual tokens among them or none, and with injections or
    /// none.
    pub(crate) fn declare(
        p: &mut Params,
        recipe: &Recipe,
        [batch, tokens]: [usize; 2],
        seen: bool,
        injects: bool,
    ) -> Self {
        let spec = &recipe.topology;
        let mut mask = |name: &str| p.graph.param(name, Role::Input, TensorType::f32([batch, tokens]));
        let pool_mask = (injects && matches!(spec.gate, Gate::Agf(_))).then(|| mask(inputs::POOL_MASK));
        let text_mask = (injects && spec.mask == Mask::Text).then(|| mask(inputs::TEXT_MASK));
        let visual = recipe.visual_positions();
        let image_index = (seen && visual > 0)
            .then(|| p.graph.param(inputs::IMAGE_INDEX, Role::Input, TensorType::i32([batch, visual])));
        Self { image_index, pool_mask, text_mask }
    }

    /// An injector over these positions.
    pub(crate) fn injector<'r>(
        &self,
        recipe: &'r Recipe,
        edges: &[(Tap, PointAddress)],
        features: Option<Features>,
        cache: PictureCache,
    ) -> Injector<'r> {
        let Self { image_index, pool_mask, text_mask } = *self;
        Injector { recipe, features, points: by_point(edges), image_index, pool_mask, text_mask, cache }
    }
}

/// The pixels `[B, C, H, W]` of a batch.
pub(crate) fn declare_pixels(p: &mut Params, recipe: &Recipe, batch: usize) -> Tensor {
    let (channels, side) = (recipe.model.vision.channels, recipe.picture_side());
    p.graph.param(inputs::PIXELS, Role::Input, TensorType::f32([batch, channels, side, side]))
}

/// The size of the vocabulary: the model's, or that of the tokenizer.
pub(crate) fn vocabulary(recipe: &Recipe, tokenizer: usize) -> Result<usize, ModelError> {
    let vocab = recipe.model.language.vocab_size.unwrap_or(tokenizer);
    if vocab == 0 {
        return Err(ModelError::Incomplete(
            "the size of the vocabulary is not known: set model.language.vocab_size".into(),
        ));
    }
    Ok(vocab)
}

/// The features of all taps; nothing where no edge carries them.
pub(crate) fn features(
    p: &mut Params,
    states: &States,
    recipe: &Recipe,
    edges: &[(Tap, PointAddress)],
) -> Result<Option<Features>, ModelError> {
    if edges.is_empty() {
        return Ok(None);
    }
    p.enter("inject");
    let features = adapt(p, states, recipe, edges)?;
    p.leave();
    Ok(Some(features))
}

/// Token ids `[B, T]` to the input `[B, T, D]` of the first layer; visual tokens replace the embeddings at their
/// positions `[B, N]`.
pub(crate) fn embed(
    p: &mut Params,
    ids: Tensor,
    visual: Option<(Tensor, Tensor)>,
    language: &LanguageModel,
    vocab: usize,
) -> Result<Tensor, ModelError> {
    p.enter("language.embed");
    let mut h = embed_tokens(p, ids, language, vocab)?;
    if let Some((visual, image_index)) = visual {
        h = p.graph.one(ScatterRows { mode: ScatterMode::Set }, &[h, image_index, visual])?;
    }
    h = scaled(p, h, language.embedding_multiplier)?;
    p.leave();
    Ok(h)
}

/// All decoder layers, with visual tokens that enter between them and an injection at its points: the last state and the gates of every
/// point.
pub(crate) fn layers(
    p: &mut Params,
    mut h: Tensor,
    entering: Option<&Entering>,
    sequence: Sequence,
    recipe: &Recipe,
    injector: Option<&Injector<'_>>,
) -> Result<(Tensor, Vec<PointGates>), ModelError> {
    let mut gates = Vec::new();
    for layer in 0..recipe.model.language.layers {
        if let Some(entering) = entering.filter(|entering| entering.layer == layer) {
            h = entering.enter(p, h, &recipe.model.language)?;
        }
        if let Some(injector) = injector {
            h = injector.inject(p, h, PointAddress::Before(layer), &mut gates)?;
        }
        h = decoder_layer(p, h, sequence, recipe, layer, injector, &mut gates)?;
        if let Some(injector) = injector {
            h = injector.inject(p, h, PointAddress::After(layer), &mut gates)?;
        }
    }
    Ok((h, gates))
}

/// The results at the positions `[B, M]` that are read, or at all.
pub(crate) fn head(
    p: &mut Params,
    h: Tensor,
    target_index: Option<Tensor>,
    language: &LanguageModel,
    vocab: usize,
    outputs: Outputs,
) -> Result<(), ModelError> {
    p.enter("language.head");
    let shape = p.graph.shape(target_index.unwrap_or(h))[..2].to_vec();
    let logits = predict(p, h, target_index, language, vocab)?;
    match outputs {
        Outputs::Loss => {
            let wanted = p.graph.param(inputs::TARGETS, Role::Input, TensorType::i32(&shape[..]));
            let wanted = p.graph.reshape(wanted, &[shape.iter().product()])?;
            let mut loss = p.graph.one(CrossEntropy, &[logits, wanted])?;
            for (name, factor, term) in p.take_auxiliary() {
                p.graph.result(&format!("{AUXILIARY_RESULT}{name}"), term);
                let term = p.graph.affine(term, factor, 0.0)?;
                loss = p.graph.add(loss, term)?;
            }
            p.graph.result("loss", loss);
        }
        Outputs::Predictions => {
            let best = p.graph.one(Argmax, &[logits])?;
            p.graph.result("predictions", best);
            p.graph.result("logits", logits);
        }
    }
    p.leave();
    Ok(())
}

/// The graph, with the gates among its results.
pub(crate) fn finish(p: Params, gates: Vec<PointGates>) -> ModelGraph {
    finished(p, gates).0
}

fn finished(mut p: Params, gates: Vec<PointGates>) -> (ModelGraph, Layers) {
    for point in &gates {
        p.graph.result(&format!("{GATE_RESULT}{}", point.point.name()), point.gates);
    }
    let (graph, params, layers) = p.finish();
    let gates = gates.into_iter().map(|g| (g.point, g.taps)).collect();
    (ModelGraph { graph: graph.finish(), params, gates }, layers)
}

/// The taps of every point, in the order of the edges.
fn by_point(edges: &[(Tap, PointAddress)]) -> Vec<(PointAddress, Vec<Tap>)> {
    let mut points: Vec<(PointAddress, Vec<Tap>)> = Vec::new();
    for (tap, point) in edges {
        match points.iter_mut().find(|(at, _)| at == point) {
            Some((_, taps)) => taps.push(tap.clone()),
            None => points.push((*point, vec![tap.clone()])),
        }
    }
    points
}
