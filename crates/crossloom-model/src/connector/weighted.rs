//! A weighted sum of taps, with weights that are fixed, learned, or depend on the question.

use crossloom_graph::Tensor;
use crossloom_ir::op::{Attention, Softmax, UnaryKind};
use crossloom_recipe::{Join, LayerWeights, Part, Recipe, Weighted};

use super::{Of, layer_norm, log_softmax, relu};
use crate::params::Params;
use crate::vision::{States, summary, tap};
use crate::{Init, ModelError};

/// What the names of its weights begin with.
const PREFIX: &str = "injection.connector";

/// Epsilon of the norms within, PyTorch's own.
const NORM_EPS: f64 = 1e-5;

/// What the projector reads, `[B, patches, W]`: the sum, joined to the base. `question` is `[B, E]`.
pub(super) fn weighted(
    p: &mut Params,
    states: &States,
    recipe: &Recipe,
    of: &Weighted,
    question: Option<Tensor>,
) -> Result<Tensor, ModelError> {
    let taps = of.of.iter().map(|of| tap(p, states, recipe, of)).collect::<Result<Vec<_>, _>>()?;
    let weights = Weights { states, recipe, of, question }.of(p)?;
    let mut sum = None;
    for (k, &state) in taps.iter().enumerate() {
        let shape = p.graph.shape(state).to_vec();
        let own = p.graph.slice(weights, 1, k, 1)?;
        let own = p.graph.reshape(own, &shape[..1])?;
        let own = p.graph.broadcast(own, &shape, &[0])?;
        let term = p.graph.mul(own, state)?;
        sum = Some(match sum {
            Some(sum) => p.graph.add(sum, term)?,
            None => term,
        });
    }
    let mut read = sum.ok_or_else(|| ModelError::Incomplete("a weighted sum of nothing".to_owned()))?;
    if let Some(base) = &of.base {
        let base = tap(p, states, recipe, base)?;
        read = match of.join {
            Join::Channels => p.graph.concat(&[base, read], 2)?,
            Join::Add => p.graph.add(base, read)?,
        };
    }
    if of.norm {
        let name = format!("{PREFIX}.norm");
        read = layer_norm(p, (Part::Adapter, &name), recipe.model.vision.norm_eps, read)?;
    }
    Ok(read)
}

/// Where the weights of a sum come from.
struct Weights<'w> {
    states: &'w States,
    recipe: &'w Recipe,
    of: &'w Weighted,
    question: Option<Tensor>,
}

impl Weights<'_> {
    /// `[B, K]`, each row summing to 1.
    fn of(&self, p: &mut Params) -> Result<Tensor, ModelError> {
        let taps = self.of.of.len();
        let shape = [self.states.batch(p)?, taps];
        match self.of.weights {
            LayerWeights::Uniform {} => Ok(p.graph.constant((taps as f64).recip(), &shape)?),
            LayerWeights::Static {} => {
                let logits = p.param(Part::Adapter, &format!("{PREFIX}.weights"), &[taps], Init::ZEROS);
                let logits = p.graph.broadcast(logits, &shape, &[1])?;
                Ok(p.graph.one(Softmax, &[logits])?)
            }
            LayerWeights::Question { hidden, entropy } => {
                let mut x = self.question()?;
                for (name, out) in [("linear_1", hidden), ("linear_2", taps)] {
                    let fan_in = p.graph.ty(x).last();
                    if name == "linear_2" {
                        x = relu(p, x)?;
                    }
                    x = p
                        .linear(Part::Adapter, &format!("{PREFIX}.{name}"), out, fan_in, true)
                        .apply(p, x)?;
                }
                let weights = p.graph.one(Softmax, &[x])?;
                if entropy != 0.0 {
                    let mean = p.graph.reduce_sum(weights, &[0])?;
                    let mean = p.graph.affine(mean, (shape[0] as f64).recip(), 0.0)?;
                    let logs = p.graph.unary(UnaryKind::Log, mean)?;
                    let negative = p.graph.mul(mean, logs)?;
                    let negative = p.graph.reduce_sum(negative, &[0])?;
                    p.auxiliary("entropy", entropy, negative);
                }
                Ok(weights)
            }
            LayerWeights::Allocator { layers, heads, balance, double_softmax } => {
                let logits = self.allocate(p, layers, heads)?;
                let weights = p.graph.one(Softmax, &[logits])?;
                if balance != 0.0 {
                    let scores = if double_softmax { weights } else { logits };
                    let logs = log_softmax(p, scores)?;
                    let shares = p.graph.one(Softmax, &[scores])?;
                    let negative = p.graph.mul(shares, logs)?;
                    let negative = p.graph.reduce_sum(negative, &[0, 1])?;
                    let negative = p.graph.affine(negative, (shape[0] as f64).recip(), 0.0)?;
                    p.auxiliary("balance", balance, negative);
                }
                Ok(weights)
            }
        }
    }

    fn question(&self) -> Result<Tensor, ModelError> {
        self.question.ok_or_else(|| {
            ModelError::Incomplete("the weights of the input read a question, and there is none".to_owned())
        })
    }

    /// The question reads the summaries of the taps, layer by layer, each `x ← LN(x + MHA(x, c))`, `x ← LN(x + FFN(x))`; then one
    /// number per tap. `[B, K]`, all zero at first.
    fn allocate(&self, p: &mut Params, layers: usize, heads: usize) -> Result<Tensor, ModelError> {
        let (part, width) = (Part::Adapter, self.recipe.model.vision.hidden);
        let prefix = format!("{PREFIX}.allocator");
        let question = self.question()?;
        let [batch, of_question] = [p.graph.shape(question)[0], p.graph.ty(question).last()];
        let x =
            p.linear(part, &format!("{prefix}.instruction"), width, of_question, true).apply(p, question)?;
        let mut x = p.graph.reshape(x, &[batch, 1, width])?;
        let mut rows = Vec::with_capacity(self.of.of.len());
        for of in &self.of.of {
            let row = summary(p, self.states, self.recipe, of)?;
            rows.push(p.graph.reshape(row, &[batch, 1, width])?);
        }
        let rows = if let [only] = rows[..] { only } else { p.graph.concat(&rows, 1)? };
        let rows = p.linear(part, &format!("{prefix}.group"), width, width, true).apply(p, rows)?;
        for layer in 0..layers {
            let prefix = format!("{prefix}.layers.{layer}");
            let linear = |p: &mut Params, name: &str, x: Tensor| {
                p.linear(part, &format!("{prefix}.{name}"), width, width, true).apply(p, x)
            };
            let (q, k, v) = (linear(p, "q_proj", x)?, linear(p, "k_proj", rows)?, linear(p, "v_proj", rows)?);
            let scale = ((width / heads) as f64).sqrt().recip();
            let op = Attention { heads, kv_heads: heads, causal: false, segments: false, scale };
            let read = p.graph.one(op, &[q, k, v])?;
            let update = linear(p, "o_proj", read)?;
            x = added(p, (part, &format!("{prefix}.norm1")), x, update)?;
            let inner = linear(p, "linear_1", x)?;
            let inner = relu(p, inner)?;
            let update = linear(p, "linear_2", inner)?;
            x = added(p, (part, &format!("{prefix}.norm2")), x, update)?;
        }
        let taps = self.of.of.len();
        let weight = p.param(part, &format!("{prefix}.output.weight"), &[taps, width], Init::ZEROS);
        let bias = p.param(part, &format!("{prefix}.output.bias"), &[taps], Init::ZEROS);
        let logits = p.graph.linear(x, weight, Some(bias))?;
        Ok(p.graph.reshape(logits, &[batch, taps])?)
    }
}

/// A norm of the sum of two.
fn added(p: &mut Params, of: Of<'_>, x: Tensor, update: Tensor) -> Result<Tensor, ModelError> {
    let sum = p.graph.add(x, update)?;
    layer_norm(p, of, NORM_EPS, sum)
}
