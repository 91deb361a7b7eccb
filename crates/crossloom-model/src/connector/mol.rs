//! A mixture of layers: the question says how much of every vision state is read, for the picture as a whole, patch by patch, or
//! both.
//!
//! A score is the product of the question's query and a patch's key. That of a layer is the mean over its patches. As experts, the
//! two distributions are multiplied, each to a power: softmax of the sum of scores, weighted by these powers. Where they disagree,
//! by their Kullback-Leibler divergence, more is read of a state that is held in reserve.

use crossloom_graph::Tensor;
use crossloom_ir::op::{Softmax, Unary, UnaryKind};
use crossloom_recipe::{Mixture, MixtureLevel, Part, Recipe};

use super::top_k::{TopK, top_k};
use super::{Of, linear_from, log_softmax};
use crate::params::Params;
use crate::vision::{States, tap};
use crate::{Init, ModelError};

/// A mixture under construction.
pub(super) struct MixtureOfLayers<'n> {
    /// Whose weights.
    pub(super) of: Of<'n>,
    /// What layers are chosen for.
    pub(super) level: MixtureLevel,
    /// How many layers are read.
    pub(super) top_k: usize,
    /// Width of queries and keys.
    pub(super) width: usize,
}

/// What a mixture gives.
pub(super) struct Mixed {
    /// `[B, N, Dv]`.
    pub(super) state: Tensor,
    /// How unevenly layers are chosen, a number that is 1 where all are alike: K times the sum over layers of how often one is taken
    /// and its mean probability.
    pub(super) imbalance: Tensor,
}

impl MixtureOfLayers<'_> {
    /// States `[B, N, Dv]`, of which one more is the reserve, mixed for questions `[B, E]`.
    pub(super) fn mix(
        &self,
        p: &mut Params,
        states: &[Tensor],
        reserve: Tensor,
        question: Tensor,
    ) -> Result<Mixed, ModelError> {
        let layers = states.len();
        let shape = p.graph.shape(reserve).to_vec();
        let [batch, tokens, width] = [shape[0], shape[1], shape[2]];
        let stack = p.graph.concat(states, 1)?;
        let by_patch = self.scores(p, stack, question)?;
        let by_patch = p.graph.reshape(by_patch, &[batch, layers, tokens])?;
        let by_layer = p.graph.reduce_sum(by_patch, &[2])?;
        let by_layer = p.graph.affine(by_layer, (tokens as f64).recip(), 0.0)?;
        let by_patch = p.graph.transpose(by_patch, &[0, 2, 1])?;

        let each = [batch, tokens, layers];
        let (scores, divergence) = match self.level {
            MixtureLevel::Layer => (by_layer, None),
            MixtureLevel::Patch => (by_patch, None),
            MixtureLevel::Hybrid => {
                let by_layer = p.graph.broadcast(by_layer, &each, &[0, 2])?;
                let power = self.power(p, question)?;
                let power = p.graph.broadcast(power, &each, &[0])?;
                let apart = p.graph.sub(by_layer, by_patch)?;
                let toward = p.graph.mul(power, apart)?;
                (p.graph.add(by_patch, toward)?, Some(divergence(p, by_patch, by_layer)?))
            }
        };
        let TopK { taken, shares } = top_k(p, scores, self.top_k)?;
        let imbalance = self.imbalance(p, scores, taken)?;

        let stack = p.graph.reshape(stack, &[batch, layers, tokens, width])?;
        let spread = p.graph.shape(stack).to_vec();
        let weights = if p.graph.shape(shares).len() == 2 {
            p.graph.broadcast(shares, &spread, &[0, 1])?
        } else {
            let shares = p.graph.transpose(shares, &[0, 2, 1])?;
            p.graph.broadcast(shares, &spread, &[0, 1, 2])?
        };
        let weighted = p.graph.mul(weights, stack)?;
        let mixed = p.graph.reduce_sum(weighted, &[1])?;
        let held = self.held(p, divergence, &shape)?;
        let apart = p.graph.sub(reserve, mixed)?;
        let toward = p.graph.mul(held, apart)?;
        Ok(Mixed { state: p.graph.add(mixed, toward)?, imbalance })
    }

    /// Every row of `stack [B, K N, Dv]` by its question, `[B, K N, 1]`. The keys' projection is applied to the query, which is one
    /// row instead of all.
    fn scores(&self, p: &mut Params, stack: Tensor, question: Tensor) -> Result<Tensor, ModelError> {
        let (part, prefix) = self.of;
        let (width, of_question) = (p.graph.ty(stack).last(), p.graph.ty(question).last());
        let query = p.linear(part, &format!("{prefix}.query"), self.width, of_question, false);
        let query = query.apply(p, question)?;
        let name = format!("{prefix}.key.weight");
        let key = p.param(part, &name, &[self.width, width], Init::linear(width));
        let query = p.graph.matmul(query, key, false, false)?;
        let query = p.graph.affine(query, (self.width as f64).sqrt().recip(), 0.0)?;
        let batch = p.graph.shape(query)[0];
        let query = p.graph.reshape(query, &[batch, width, 1])?;
        Ok(p.graph.matmul(stack, query, false, false)?)
    }

    /// The power of the picture's distribution, of questions `[B, E]`; that of a patch's own is what is left to 1. They are alike at
    /// first. `[B]`.
    fn power(&self, p: &mut Params, question: Tensor) -> Result<Tensor, ModelError> {
        let (part, prefix) = self.of;
        let &[batch, width] = p.graph.shape(question) else {
            return Err(ModelError::Incomplete(format!("`{prefix}` has no questions of one row each")));
        };
        let layer = linear_from(p, (part, &format!("{prefix}.power")), [1, width], [Init::ZEROS; 2]);
        let power = layer.apply(p, question)?;
        let power = p.graph.one(Unary(UnaryKind::Sigmoid), &[power])?;
        Ok(p.graph.reshape(power, &[batch])?)
    }

    /// How much of the reserve is read, everywhere in `[B, N, Dv]`: a learned share, of patches whose distributions diverge more or
    /// less than that. Half at first.
    fn held(
        &self,
        p: &mut Params,
        divergence: Option<Tensor>,
        shape: &[usize],
    ) -> Result<Tensor, ModelError> {
        let (part, prefix) = self.of;
        let mut logit = p.param(part, &format!("{prefix}.reserve.bias"), &[1], Init::ZEROS);
        logit = p.graph.reshape(logit, &[])?;
        let mut axes = Vec::new();
        if let Some(divergence) = divergence {
            axes = vec![0, 1];
            let extents = &shape[..2];
            let slope = p.param(part, &format!("{prefix}.reserve.weight"), &[1, 1], Init::ZEROS);
            let slope = p.graph.reshape(slope, &[])?;
            let slope = p.graph.broadcast(slope, extents, &[])?;
            let by = p.graph.mul(slope, divergence)?;
            let bias = p.graph.broadcast(logit, extents, &[])?;
            logit = p.graph.add(by, bias)?;
        }
        let held = p.graph.one(Unary(UnaryKind::Sigmoid), &[logit])?;
        Ok(p.graph.broadcast(held, shape, &axes)?)
    }

    /// See [`Mixed::imbalance`]; of scores `[.., K]` and what is taken of them.
    fn imbalance(&self, p: &mut Params, scores: Tensor, taken: Tensor) -> Result<Tensor, ModelError> {
        let g = &mut p.graph;
        let shape = g.shape(scores).to_vec();
        let layers = shape[shape.len() - 1];
        let (lead, rows): (Vec<usize>, usize) =
            ((0..shape.len() - 1).collect(), shape[..shape.len() - 1].iter().product());
        let probabilities = g.one(Softmax, &[scores])?;
        let often = g.reduce_sum(taken, &lead)?;
        let mean = g.reduce_sum(probabilities, &lead)?;
        let product = g.mul(often, mean)?;
        let sum = g.reduce_sum(product, &[0])?;
        let taken = self.top_k.min(layers);
        Ok(g.affine(sum, layers as f64 / (taken * rows * rows) as f64, 0.0)?)
    }
}

/// The Kullback-Leibler divergence of the softmax of one row of scores from that of another, `[.., K]` to `[..]`.
fn divergence(p: &mut Params, of: Tensor, from: Tensor) -> Result<Tensor, ModelError> {
    let (of_logs, from_logs) = (log_softmax(p, of)?, log_softmax(p, from)?);
    let g = &mut p.graph;
    let probabilities = g.one(Softmax, &[of])?;
    let apart = g.sub(of_logs, from_logs)?;
    let product = g.mul(probabilities, apart)?;
    let axis = g.shape(of).len() - 1;
    Ok(g.reduce_sum(product, &[axis])?)
}

/// What the projector reads of a recipe's mixture, `[B, N, Dv]`, for questions `[B, E]`; its imbalance is part of the loss.
pub(super) fn mixture(
    p: &mut Params,
    states: &States,
    recipe: &Recipe,
    of: &Mixture,
    question: Option<Tensor>,
) -> Result<Tensor, ModelError> {
    let question = question.ok_or_else(|| {
        ModelError::Incomplete("the mixture at the input reads a question, and there is none".to_owned())
    })?;
    let taps = of.of.iter().map(|of| tap(p, states, recipe, of)).collect::<Result<Vec<_>, _>>()?;
    let reserve = tap(p, states, recipe, &of.reserve)?;
    let &Mixture { level, top_k, width, balance, .. } = of;
    let mixture = MixtureOfLayers { of: (Part::Adapter, "injection.connector"), level, top_k, width };
    let mixed = mixture.mix(p, &taps, reserve, question)?;
    if balance != 0.0 {
        p.auxiliary("balance", balance, mixed.imbalance);
    }
    Ok(mixed.state)
}
