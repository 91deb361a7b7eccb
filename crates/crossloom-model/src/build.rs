//! The pieces of a model, and the whole as one graph.

use crossloom_graph::{LuminalGraph, Tensor};
use crossloom_ir::op::{Argmax, CrossEntropy, ScatterMode, ScatterRows};
use crossloom_ir::{Role, TensorType};
use crossloom_recipe::{LanguageModel, Mask, NamedInjection, PointAddress, Recipe, Stretch, Tap};

use crate::adaptation::{self, Layers};
use crate::conditioning::question;
use crate::connector::embeddings;
use crate::injection::{Features, Injector, PictureCache, PointGates, adapt, inject};
use crate::language::{Memory, Sequence, decoder_layer, embed_tokens, predict, scaled, turned_by};
use crate::layout::{Layout, placed};
use crate::params::Params;
use crate::vision::States;
use crate::{BatchShape, ModelError, ParamSpec, inputs};

/// Results named `gate.{point}` hold the gate values of a point, `[B, K]` or `[B, K, D]`.
pub const GATE_RESULT: &str = "gate.";

/// Results named `auxiliary.{name}` hold what the loss has beside the mean cross-entropy, each before its factor.
pub const AUXILIARY_RESULT: &str = "auxiliary.";

/// The result with the cross-entropy of every target in nats, `[B*M]`, 0 where none is trained.
pub const LOSSES_RESULT: &str = "losses";

/// Which results the graph has, besides the gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outputs {
    /// `loss`, a scalar: mean cross-entropy of the targets, and what a connector adds to it; [`LOSSES_RESULT`].
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
    let BatchShape { batch, tokens, targets, views } = shape;
    let mut p = Params::new(recipe);
    let pixels = encodes.then(|| declare_pixels(&mut p, recipe, shape.images()));
    let mut input = |name: &str, ty: TensorType| p.graph.param(name, Role::Input, ty);
    let ids = input(inputs::TOKENS, TensorType::i32([batch, tokens]));
    let positions = input(inputs::POSITIONS, TensorType::i32([batch, tokens]));
    let segments = input(inputs::SEGMENTS, TensorType::i32([batch, tokens]));
    let target_index = input(inputs::TARGET_INDEX, TensorType::i32([batch, targets]));

    let states = match pixels {
        Some(pixels) => States::encode(&mut p, recipe, pixels)?,
        None => States::given(&mut p, recipe, shape.images()),
    };
    let layout = Layout::declare(&mut p, recipe, shape)?;
    let visual = views.map(|of| of.tokens);
    let places = Places::declare(&mut p, recipe, edges, [batch, tokens], Seen::Now { visual })?;
    let asked = question(&mut p, recipe, Some(ids), [batch, tokens], vocab)?;
    let picture = match places.image_index {
        None => None,
        Some(index) => Some((embeddings(&mut p, &states, recipe, layout, asked)?, index)),
    };
    let (picture, entering) = Entering::parted(recipe, picture);
    let h = embed(&mut p, ids, picture, language, vocab)?;
    let injectors: Vec<Injector<'_>> = features(&mut p, &states, recipe, edges, layout)?
        .into_iter()
        .map(|(of, features)| places.injector(recipe, &of, Some(features), PictureCache::None))
        .collect();
    let positions = turned_by(&mut p, positions, places.image_index, &recipe.model)?;
    let elsewhere = text_segments(&mut p, recipe, [batch, tokens])
        .map(|(stretch, segments)| (stretch, Memory::Sequence { segments }));
    let sequence = Sequence { positions, memory: Memory::Sequence { segments }, elsewhere };
    let (h, gates) = layers(&mut p, h, entering.as_ref(), sequence, recipe, &injectors)?;
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

/// An injection with those of the edges of a graph that are its own.
pub(crate) struct InjectionEdges<'r> {
    pub(crate) injection: NamedInjection<'r>,
    pub(crate) edges: Vec<(Tap, PointAddress)>,
}

impl<'r> InjectionEdges<'r> {
    /// Every injection that has any of them.
    pub(crate) fn of(recipe: &'r Recipe, edges: &[(Tap, PointAddress)]) -> Vec<Self> {
        let own = |injection: NamedInjection<'r>| {
            let own = |(_, point): &&(Tap, PointAddress)| injection.of.points.contains(point);
            Self { injection, edges: edges.iter().filter(own).cloned().collect() }
        };
        recipe.topology.injections().map(own).filter(|own| !own.edges.is_empty()).collect()
    }
}

/// Whether the pictures of a call are given.
#[derive(Clone, Copy)]
pub(crate) enum Seen {
    /// They are, with so many visual tokens of a row where these are counted.
    Now {
        /// N.
        visual: Option<usize>,
    },
    /// An earlier call has read them.
    Before,
}

/// Inputs that say which positions are what to an injection.
pub(crate) struct Places<'r> {
    /// `[B, N]` positions of the visual tokens, where they are in the sequence.
    pub(crate) image_index: Option<Tensor>,
    /// The same of those at which something is injected, and a mask `[B, N]` of them, where these are not all.
    patches: Option<(Tensor, Tensor)>,
    /// `[B, T]` positions that gates of an injection pool over, by its name.
    pool_masks: Vec<(Option<&'r str>, Tensor)>,
    text_mask: Option<Tensor>,
}

impl<'r> Places<'r> {
    /// Those that the edges of a graph need, for sequences of `[B, T]` with visual tokens among them or none.
    ///
    /// # Errors
    /// None for sizes that a batch has.
    pub(crate) fn declare(
        p: &mut Params,
        recipe: &'r Recipe,
        edges: &[(Tap, PointAddress)],
        [batch, tokens]: [usize; 2],
        seen: Seen,
    ) -> Result<Self, ModelError> {
        let mut mask = |name: &str| p.graph.param(name, Role::Input, TensorType::f32([batch, tokens]));
        let injections = InjectionEdges::of(recipe, edges);
        let pooling = injections.iter().map(|own| own.injection).filter(|of| of.of.pool().is_some());
        let pool_masks = pooling.map(|of| (of.name, mask(&of.under(inputs::POOL_MASK)))).collect();
        let text_only = injections.iter().any(|own| own.injection.of.mask == Mask::Text);
        let text_mask = text_only.then(|| mask(inputs::TEXT_MASK));
        let Seen::Now { visual: counted } = seen else {
            return Ok(Self { image_index: None, patches: None, pool_masks, text_mask });
        };
        let visual = counted.unwrap_or(recipe.visual_positions());
        let mut index = |name: &str| p.graph.param(name, Role::Input, TensorType::i32([batch, visual]));
        let image_index = (visual > 0).then(|| index(inputs::IMAGE_INDEX));
        let changes = injections.iter().any(|own| own.injection.of.mask == Mask::Visual);
        let patches = match image_index.filter(|_| counted.is_some() && changes) {
            None => None,
            Some(image_index) => {
                let rows_end = recipe.model.vision.anyres.is_some();
                let patches = if rows_end { index(inputs::PATCH_INDEX) } else { image_index };
                p.enter("inject");
                let mask = placed(p, patches)?;
                p.leave();
                Some((patches, mask))
            }
        };
        Ok(Self { image_index, patches, pool_masks, text_mask })
    }

    /// An injector over these positions.
    pub(crate) fn injector(
        &self,
        recipe: &'r Recipe,
        of: &InjectionEdges<'r>,
        features: Option<Features>,
        cache: PictureCache,
    ) -> Injector<'r> {
        let InjectionEdges { injection, ref edges } = *of;
        let pool_mask =
            self.pool_masks.iter().find(|(name, _)| *name == injection.name).map(|(_, mask)| *mask);
        let text_mask = self.text_mask.filter(|_| injection.of.mask == Mask::Text);
        let image_index = self.patches.map_or(self.image_index, |(index, _)| Some(index));
        let token_mask = self.patches.map(|(_, mask)| mask);
        let points = by_point(edges);
        Injector { recipe, injection, features, points, image_index, pool_mask, token_mask, text_mask, cache }
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

/// The features of all taps of every injection that has edges.
pub(crate) fn features<'r>(
    p: &mut Params,
    states: &States,
    recipe: &'r Recipe,
    edges: &[(Tap, PointAddress)],
    layout: Option<Layout>,
) -> Result<Vec<(InjectionEdges<'r>, Features)>, ModelError> {
    let adapted = InjectionEdges::of(recipe, edges).into_iter().map(|own| {
        p.enter("inject");
        let mut features = adapt(p, states, recipe, own.injection, &own.edges)?;
        if let Some(layout) = layout {
            features.lay(p, layout)?;
        }
        p.leave();
        Ok((own, features))
    });
    adapted.collect()
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
    injectors: &[Injector<'_>],
) -> Result<(Tensor, Vec<PointGates>), ModelError> {
    let mut gates = Vec::new();
    for layer in 0..recipe.model.language.layers {
        if let Some(entering) = entering.filter(|entering| entering.layer == layer) {
            h = entering.enter(p, h, &recipe.model.language)?;
        }
        h = inject(injectors, p, h, PointAddress::Before(layer), &mut gates)?;
        h = decoder_layer(p, h, sequence, recipe, layer, injectors, &mut gates)?;
        h = inject(injectors, p, h, PointAddress::After(layer), &mut gates)?;
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
            let of_targets = p.graph.push(CrossEntropy, &[logits, wanted])?;
            let (mut loss, losses) = (of_targets[0], of_targets[2]);
            p.graph.result(LOSSES_RESULT, losses);
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
