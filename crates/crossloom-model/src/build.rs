//! The whole model as one graph.

use crossloom_graph::{GraphBuilder, LuminalGraph};
use crossloom_ir::op::{Argmax, CrossEntropy, ScatterMode, ScatterRows};
use crossloom_ir::{Role, TensorType};
use crossloom_recipe::{PointAddress, Recipe, VisionAddress};

use crate::injection::{Injector, PointGates, adapt};
use crate::language::{Sequence, decoder_layer, embed_tokens, predict};
use crate::params::Params;
use crate::projector::ProjectorWeights;
use crate::vision::Tower;
use crate::{BatchShape, ModelError, ParamSpec, inputs};

/// Results named `gate.{point}` hold the gate values of a point, `[B, K]` or `[B, K, D]`.
pub const GATE_RESULT: &str = "gate.";

/// Which results the graph has, besides the gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outputs {
    /// `loss`, a scalar: mean cross-entropy of the targets.
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
    pub gates: Vec<(PointAddress, Vec<VisionAddress>)>,
}

/// Builds the model of a recipe for one batch shape. `edges` are the injection's edges in order.
///
/// # Errors
/// Operands that do not fit, which a checked recipe does not lead to; a vocabulary of unknown size.
pub fn build(
    recipe: &Recipe,
    edges: &[(VisionAddress, PointAddress)],
    shape: BatchShape,
    vocab: usize,
    outputs: Outputs,
) -> Result<ModelGraph, ModelError> {
    let (vision, language) = (&recipe.model.vision, &recipe.model.language);
    let vocab = language.vocab_size.unwrap_or(vocab);
    if vocab == 0 {
        return Err(ModelError::Incomplete(
            "the size of the vocabulary is not known: set model.language.vocab_size".into(),
        ));
    }
    let BatchShape { batch, tokens, targets } = shape;
    let mut graph = GraphBuilder::new(&recipe.name);
    let mut input = |name: &str, ty: TensorType| graph.param(name, Role::Input, ty);
    let side = vision.image_size;
    let pixels = input(inputs::PIXELS, TensorType::f32([batch, vision.channels, side, side]));
    let ids = input(inputs::TOKENS, TensorType::i32([batch, tokens]));
    let positions = input(inputs::POSITIONS, TensorType::i32([batch, tokens]));
    let segments = input(inputs::SEGMENTS, TensorType::i32([batch, tokens]));
    let image_index = input(inputs::IMAGE_INDEX, TensorType::i32([batch, vision.tokens()]));
    let pool_mask = input(inputs::POOL_MASK, TensorType::f32([batch, tokens]));
    let target_index = input(inputs::TARGET_INDEX, TensorType::i32([batch, targets]));
    let mut p = Params::new(graph);

    let tower = Tower::build(&mut p, pixels, vision)?;
    p.enter("projector");
    let tap = tower.tap(&mut p, recipe.topology.input)?;
    let visual = ProjectorWeights::shared(&mut p, &recipe.model).apply(&mut p, tap, &recipe.model)?;
    p.leave();
    p.enter("language.embed");
    let embedded = embed_tokens(&mut p, ids, language, vocab)?;
    let mut h = p.graph.one(ScatterRows { mode: ScatterMode::Set }, &[embedded, image_index, visual])?;
    p.leave();

    let injector = if edges.is_empty() {
        None
    } else {
        p.enter("inject");
        let features = adapt(&mut p, &tower, &recipe.topology.taps, &recipe.topology.adapter, &recipe.model)?;
        p.leave();
        Some(Injector { spec: &recipe.topology, features, points: by_point(edges), image_index, pool_mask })
    };
    let sequence = Sequence { positions, segments };
    let mut gates: Vec<PointGates> = Vec::new();
    for layer in 0..language.layers {
        if let Some(injector) = &injector {
            h = injector.inject(&mut p, h, PointAddress::Before(layer), &mut gates)?;
        }
        p.enter(&format!("language.layer.{layer}"));
        h = decoder_layer(&mut p, h, sequence, language, layer)?;
        p.leave();
        if let Some(injector) = &injector {
            h = injector.inject(&mut p, h, PointAddress::After(layer), &mut gates)?;
        }
    }
    p.enter("language.head");
    let logits = predict(&mut p, h, target_index, language, vocab)?;
    match outputs {
        Outputs::Loss => {
            let wanted = p.graph.param(inputs::TARGETS, Role::Input, TensorType::i32([batch, targets]));
            let wanted = p.graph.reshape(wanted, &[batch * targets])?;
            let loss = p.graph.one(CrossEntropy, &[logits, wanted])?;
            p.graph.result("loss", loss);
        }
        Outputs::Predictions => {
            let best = p.graph.one(Argmax, &[logits])?;
            p.graph.result("predictions", best);
            p.graph.result("logits", logits);
        }
    }
    p.leave();
    for point in &gates {
        p.graph.result(&format!("{GATE_RESULT}{}", point.point.name()), point.gates);
    }
    let (graph, params) = p.finish();
    let gates = gates.into_iter().map(|g| (g.point, g.taps)).collect();
    Ok(ModelGraph { graph: graph.finish(), params, gates })
}

/// The taps of every point, in the order of the edges.
fn by_point(edges: &[(VisionAddress, PointAddress)]) -> Vec<(PointAddress, Vec<VisionAddress>)> {
    let mut points: Vec<(PointAddress, Vec<VisionAddress>)> = Vec::new();
    for &(tap, point) in edges {
        match points.iter_mut().find(|(at, _)| *at == point) {
            Some((_, taps)) => taps.push(tap),
            None => points.push((point, vec![tap])),
        }
    }
    points
}
